"""The registry: models, datasets and versions, and what each version was made from."""
