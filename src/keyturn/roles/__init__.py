"""Roles of tokens: what each token does in a trace."""
