"""The atlas in formats of other tools: BibTeX, a vault of Markdown notes, an SQLite file; never read back."""
