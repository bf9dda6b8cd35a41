"""Forgets reports and checks that nobody will ask for again."""

import logging

from services.registry.reports import CODE
from services.registry.store.reports import ReportStore
from services.registry.store.storage import StorageStore

log = logging.getLogger(__name__)

# A report takes some kilobytes, and each seed of a job makes its own.
REPORTS_KEPT = 10_000


class Pruner:
    """Keeps the two tables that grow with use as small as what is on record."""

    def __init__(self, checks: StorageStore, reports: ReportStore) -> None:
        """Know the tables."""
        self._checks = checks
        self._reports = reports

    async def prune(self) -> None:
        """Forget what is of data that are gone, of other code, or the oldest of too many."""
        checks = await self._checks.prune()
        reports = await self._reports.prune(CODE, REPORTS_KEPT)
        if checks or reports:
            log.info("forgot %d checks and %d dataset reports", checks, reports)
