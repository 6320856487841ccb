"""Rewards to credit to loss: pure functions on tensors, one file each."""
