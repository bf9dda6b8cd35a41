"""The registry's tables by noun. Byte counts are bigint, ids int32, times Postgres's own."""

from services.registry.tables.base_models import BaseModelRow
from services.registry.tables.checks import CheckRow
from services.registry.tables.common import SCHEMA
from services.registry.tables.datasets import DatasetRow
from services.registry.tables.models import EventRow, ModelRow
from services.registry.tables.outbox import OutboxRow, TrainingFactRow
from services.registry.tables.quality import EvaluationRow, GateRow
from services.registry.tables.reports import ReportRow
from services.registry.tables.samples import SampleRow
from services.registry.tables.versions import AliasRow, VersionRow

__all__ = [
    "SCHEMA",
    "AliasRow",
    "BaseModelRow",
    "CheckRow",
    "DatasetRow",
    "EvaluationRow",
    "EventRow",
    "GateRow",
    "ModelRow",
    "OutboxRow",
    "ReportRow",
    "SampleRow",
    "TrainingFactRow",
    "VersionRow",
]
