"""Interventions that change weights: pretraining, the RL loop, recipes, checkpoints."""
