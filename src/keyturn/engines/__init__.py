"""Our objectives on other libraries' trainers: TRL, slime, verl and prime-rl."""
