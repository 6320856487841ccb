"""What composes: stages, plans over seeds and arms, the audit."""
