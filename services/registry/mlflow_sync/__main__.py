"""The mirror's process: delivers until nothing has been due for a while."""

import asyncio
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from services.chassis import logs
from services.chassis.database import create_engine
from services.chassis.settings import load
from services.registry.mlflow_sync.client import Client
from services.registry.settings import RegistrySettings
from services.registry.store.models import ModelStore
from services.registry.store.outbox import Outbox
from services.registry.store.session import sessions

log = logging.getLogger("services.registry.mlflow_sync")

POLL_S = 1.0
# A delivery takes well under a second; the first one creates MLflow's 65 tables.
DELIVERY_S = 30
# Files may take longer, and so may the history of a long run; each call has its own bounds.
LONG_S = 600
LEASE = timedelta(seconds=2 * LONG_S)


async def work(outbox: Outbox, client: Client, idle_s: float) -> None:
    """Deliver until nothing has been due for a while."""
    idle = 0.0
    while idle < idle_s:
        delivery = await outbox.claim(LEASE)
        if delivery is None:
            idle += POLL_S
            await asyncio.sleep(POLL_S)
            continue
        idle = 0.0
        try:
            with at_most(LONG_S if delivery.version or delivery.retried else DELIVERY_S):
                experiment = client.deliver(delivery)
        except Exception as error:
            log.warning("MLflow took no delivery %d: %s", delivery.id, summary(error))
            await outbox.postpone(delivery, summary(error))
            await asyncio.sleep(POLL_S)  # what is due next will hardly fare better
        else:
            await outbox.confirm(delivery, experiment)


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """End this process, whatever it hangs in, unless the block ends first."""
    signal.alarm(seconds)  # its default is to end the process
    try:
        yield
    finally:
        signal.alarm(0)


def summary(error: Exception) -> str:
    """Give an error's first line, without the password that an address may hold."""
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {re.sub(r'://[^/@ ]*@', '://***@', line)}"


def _leave_with_parent() -> None:
    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


async def _main(settings: RegistrySettings, client: Client) -> None:
    engine = create_engine(settings.database_url, "mlx_hub_registry")
    store = sessions(engine)
    outbox = Outbox(store, ModelStore(store, mirrored=True))
    try:
        await work(outbox, client, settings.mlflow_idle_seconds)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    _leave_with_parent()
    os.nice(10)  # nobody waits for it
    _settings = load(RegistrySettings)
    logs.configure("registry-mlflow", _settings.log_level, _settings.log_format)
    with at_most(2 * DELIVERY_S):  # a store without a server is opened here, and perhaps made
        _client = Client(
            _settings.mlflow_tracking_uri,
            _settings.storage_archive_path,
            _settings.storage_cold_path,
        )
    asyncio.run(_main(_settings, _client))
