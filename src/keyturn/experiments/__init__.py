"""Studies: plans over arms, seeds and rates, and what they found."""
