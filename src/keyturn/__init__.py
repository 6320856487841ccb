"""keyturn: does post-training create reasoning, or only deploy what the base model already has?

Importing this package is quick and imports no torch; ``import keyturn.policies.tiny`` registers the
tiny world model with the transformers Auto classes.
"""

__version__ = "0.1.0"
