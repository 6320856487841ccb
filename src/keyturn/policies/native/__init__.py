"""The tiny model in C, compiled for its shape at first use; see docs/native.md."""
