"""The whole schema as the code sees it: both services' tables and the keys between them."""

from sqlalchemy import ForeignKeyConstraint, MetaData

from services.chassis.tables import Base
from services.registry import tables as _registry
from services.trainer import tables as _trainer

METADATA: MetaData = Base.metadata
SCHEMAS = (_registry.SCHEMA, _trainer.SCHEMA)

# Only here are both sides known. A version and its job point at each other, so the
# last key is added once both tables exist.
for _source, _column, _target in (
    ("trainer.jobs", "model_id", "registry.models.id"),
    ("trainer.jobs", "dataset_id", "registry.datasets.id"),
    ("registry.versions", "job_id", "trainer.jobs.id"),
    ("trainer.jobs", "version_id", "registry.versions.id"),
):
    METADATA.tables[_source].append_constraint(
        ForeignKeyConstraint([_column], [_target], use_alter=_column == "version_id")
    )
