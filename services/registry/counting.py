"""Keeps Prometheus's numbers of what is on record."""

import asyncio
import logging

from services.registry import metrics
from services.registry.store.storage import StorageStore

log = logging.getLogger(__name__)

PAUSE_S = 10.0


async def count(checks: StorageStore) -> None:
    """Look at the record, for ever; while the database is away the numbers stay."""
    while True:
        try:
            metrics.counted(await checks.counted())
        except Exception as error:
            log.info("what is on record can't be counted: %s", type(error).__name__)
        await asyncio.sleep(PAUSE_S)
