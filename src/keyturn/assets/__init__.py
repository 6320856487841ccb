"""What ships and is not code."""
