"""The audit: opening a pair of policies, sampling from both, teacher forcing, and the embedded default."""
