"""The audit: opening a pair of policies, drawing, looking inside, and the embedded default."""
