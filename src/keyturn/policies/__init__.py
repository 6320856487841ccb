"""Who answers. ``import keyturn.policies.tiny`` registers the tiny architecture with the Auto classes."""
