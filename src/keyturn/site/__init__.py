"""The atlas as web pages: a folder of plain files that reads without a script, from disk and from any host."""
