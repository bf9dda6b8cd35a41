"""The form of names, which the contract restates field by field."""

NAME = r"[a-z0-9][a-z0-9._-]{0,99}"
"""Of models, base models and datasets, as a pattern for the whole text."""
