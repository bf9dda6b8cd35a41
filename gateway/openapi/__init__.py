"""Writes the OpenAPI document from the descriptors and their comments."""
