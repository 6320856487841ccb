"""Our objectives on the trainers of others: TRL, slime, verl and prime-rl."""
