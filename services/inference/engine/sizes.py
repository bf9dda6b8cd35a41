"""Sizes that a model's config.json states, of its text where it knows more than that."""

from typing import Any


def context_of(config: dict[str, Any]) -> int:
    """Give the tokens of its longest text; 0 if it does not say."""
    return _of_text(config, "max_position_embeddings")


def vocabulary_of(config: dict[str, Any]) -> int:
    """Give the tokens that it has scores for; 0 if it does not say."""
    return _of_text(config, "vocab_size")


def _of_text(config: dict[str, Any], key: str) -> int:
    """Look a key up where multi-modal models keep it, too."""
    text = config.get("text_config")
    value = config.get(key) or (text.get(key) if isinstance(text, dict) else None)
    return int(value or 0)
