"""Importing GGUF files: found, looked over, dequantised, checked and written as an ordinary model folder."""
