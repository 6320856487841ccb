"""Views: one file a kind of page. Each takes the source and gives pages; templates do the rest."""
