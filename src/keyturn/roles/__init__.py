"""What each token does."""
