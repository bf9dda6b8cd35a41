"""Alembic's entry: runs the revisions on the connection that migrations/__main__.py opened."""

from alembic import context

from migrations.metadata import METADATA
from services.chassis.database import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    include_schemas=True,
    version_table=VERSION_TABLE,
    version_table_schema="public",
)
context.run_migrations()
