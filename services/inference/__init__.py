"""Answers prompts: one engine process per resident base model, adapters mixed in each batch."""
