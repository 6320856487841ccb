"""The RL engine: rollouts, credit, updates, checkpoints."""
