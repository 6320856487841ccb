"""What changed, one file each."""
