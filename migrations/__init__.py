"""One linear Alembic history over the schemas of all services."""

HEAD = "0018"
"""The revision this release is written for; servers refuse to serve on another."""
