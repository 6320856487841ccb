"""Bases of the controlled worlds, pretrained from scratch."""
