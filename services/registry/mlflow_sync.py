"""The MLflow mirror: an experiment for each model, a run for each version.

It lives in a process of its own, `python -m services.registry.mlflow_sync`, which the
registry starts when the outbox has work and which leaves when it has had none for a
while. Importing MLflow costs seconds of the interpreter's lock and more memory than the
registry itself, and a call of it can hang in a socket without any bound: a thread could
neither be kept off the event loop's back nor ended. A process is ended by its own alarm,
and what it had claimed comes back when the lease is over.
"""

import asyncio
import contextlib
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.chassis import logs
from services.chassis.database import create_engine
from services.chassis.settings import load
from services.registry.domain import Model, Version
from services.registry.lineage import Lineage
from services.registry.settings import RegistrySettings
from services.registry.store.models import ModelStore
from services.registry.store.outbox import Delivery, Outbox
from services.registry.store.session import sessions

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

POLL_S = 1.0
MAX_DOUBLINGS = 8  # pauses after failures end at about four minutes
# A delivery takes well under a second; the first one creates MLflow's 65 tables.
DELIVERY_S = 60
LEASE = timedelta(seconds=2 * DELIVERY_S)
BOUNDS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the outbox tries again
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
MODEL_TAG = "mlx_hub.model"
VERSION_TAG = "mlx_hub.version_id"
OWN_TAG = "mlx_hub.tag."
NOTE_TAG = "mlflow.note.content"


class Mirror:
    """The registry's side: starts the process when there is something to deliver."""

    def __init__(self, outbox: Outbox) -> None:
        """Know the outbox; the process reads it by itself."""
        self._outbox = outbox
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Begin to watch the outbox."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching and end the process; what it was at is delivered next time."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _watch(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(POLL_S * 2 ** min(failures, MAX_DOUBLINGS))
            try:
                if await self._outbox.due():
                    failures = failures + 1 if await self._deliver() else 0
            except Exception as error:  # the database may be away for a while
                log.warning("the MLflow mirror waits: %s", type(error).__name__)
                failures += 1

    async def _deliver(self) -> int:
        """Run the process to its end; its standard input closes when this one dies."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.registry.mlflow_sync"),
            stdin=asyncio.subprocess.PIPE,
            process_group=0,  # Ctrl-C in a terminal is for the registry, which then ends this
        )
        return await self._process.wait()


class Client:
    """The mirror's side: writes a delivery into MLflow; writing it twice changes nothing."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        """Load MLflow; `artifacts` is where runs of a store without a server say they are."""
        os.environ.update({key: os.environ.get(key, value) for key, value in BOUNDS.items()})
        from mlflow import MlflowClient  # noqa: PLC0415  (seconds, and only here)

        self._mlflow: MlflowClient = MlflowClient(tracking_uri=with_bounds(uri))
        self._location = artifacts.as_uri() if _is_database(uri) else None

    def deliver(self, delivery: Delivery) -> str:
        """Mirror a model or a version and give the model's experiment id."""
        experiment = self._experiment(delivery.model)
        if delivery.version and delivery.lineage:
            self._run(experiment, delivery.version, delivery.lineage)
        return experiment

    def _experiment(self, model: Model) -> str:
        identity = f"{model.id}@{model.created_at.isoformat()}"
        tags = {MODEL_TAG: identity, "mlx_hub.base_model": model.base_model}
        tags |= {f"{OWN_TAG}{key}": value for key, value in model.tags.items()}
        if model.description:
            tags[NOTE_TAG] = model.description
        # Two hubs may share an MLflow and have a model of the same name.
        for name in (f"mlx-hub/{model.name}", f"mlx-hub/{model.name} ({identity})"):
            found = self._mlflow.get_experiment_by_name(name)
            if found is None:
                return str(self._mlflow.create_experiment(name, self._location, tags))
            if found.tags.get(MODEL_TAG) == identity:
                if found.lifecycle_stage == "deleted":
                    self._mlflow.restore_experiment(found.experiment_id)
                self._retag(found.experiment_id, found.tags, tags)
                return str(found.experiment_id)
        raise RuntimeError(f"MLflow has other experiments under both names of model {model.id}")

    def _retag(self, experiment: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        """Bring the tags of ours to what the model says now; leave the others."""
        for key in old.keys() - new.keys():
            if key.startswith(OWN_TAG) or key == NOTE_TAG:
                self._mlflow.delete_experiment_tag(experiment, key)
        for key in new:
            if old.get(key) != new[key]:
                self._mlflow.set_experiment_tag(experiment, key, new[key])

    def _run(self, experiment: str, version: Version, lineage: Lineage) -> None:
        own = f"tags.`{VERSION_TAG}` = '{version.id}'"
        runs = self._mlflow.search_runs([experiment], own, max_results=1)
        begun = _milliseconds(lineage.training.started_at or version.created_at)
        run = (
            runs[0]
            if runs
            else self._mlflow.create_run(
                experiment,
                start_time=begun,
                tags=tags_of(version, lineage),
                run_name=f"{lineage.model_name}:{version.version}",
            )
        )
        self._record(run.info.run_id, version, lineage)
        ended = _milliseconds(lineage.training.finished_at or version.created_at)
        self._mlflow.set_terminated(run.info.run_id, "FINISHED", end_time=ended)

    def _record(self, run_id: str, version: Version, lineage: Lineage) -> None:
        from mlflow import entities  # noqa: PLC0415

        stamp = _milliseconds(version.created_at)
        finite = {key: v for key, v in version.metrics.items() if math.isfinite(v)}
        self._mlflow.log_batch(
            run_id,
            metrics=[entities.Metric(key, value, stamp, 0) for key, value in finite.items()],
            params=[entities.Param(k, v) for k, v in lineage.training.parameters.items()],
        )
        # MLflow takes 36 characters of a digest; the tag has all of them.
        data = entities.Dataset(
            name=lineage.dataset_name,
            digest=lineage.dataset_digest[:36],
            source_type="mlx-hub",
            source=f"dataset {lineage.dataset_id} sha256:{lineage.dataset_digest}",
        )
        context = entities.InputTag("mlflow.data.context", "training")
        self._mlflow.log_inputs(run_id, [entities.DatasetInput(data, [context])])


def tags_of(version: Version, lineage: Lineage) -> dict[str, str]:
    """Give a run's tags: the digests that tie it to the files, and who made it."""
    training = lineage.training
    return {
        VERSION_TAG: str(version.id),
        "mlx_hub.version": str(version.version),
        "mlx_hub.checksum": version.checksum,
        "mlx_hub.base_model": lineage.base_name,
        "mlx_hub.base_digest": lineage.base_digest,
        "mlx_hub.dataset_digest": lineage.dataset_digest,
        "mlx_hub.job_id": str(training.job_id),
        "mlx_hub.attempt": str(training.attempt),
        "mlx_hub.seed": str(training.seed),
        "mlx_hub.lock_digest": training.lock_digest,
        "mlflow.source.git.commit": training.code_commit,
    }


def _is_database(uri: str) -> bool:
    return uri.startswith("postgres")


def with_bounds(uri: str) -> str:
    """Name the driver we have, and let no statement wait for ever."""
    if not _is_database(uri):
        return uri
    scheme, _, rest = uri.partition("://")
    bounds = f"connect_timeout=5&options=-c%20statement_timeout%3D{DELIVERY_S * 500}"
    driver = scheme if "+" in scheme else "postgresql+psycopg"
    return f"{driver}://{rest}{'&' if '?' in rest else '?'}{bounds}"


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


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
        signal.alarm(DELIVERY_S)  # its default is to end the process, whatever hangs
        try:
            experiment = client.deliver(delivery)
        except Exception as error:
            log.warning("MLflow took no delivery %d: %s", delivery.id, _first_line(error))
            await outbox.postpone(delivery, _first_line(error))
        else:
            await outbox.confirm(delivery, experiment)
        finally:
            signal.alarm(0)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition('\n')[0]}"


def _leave_with_parent() -> None:
    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


async def _main(settings: RegistrySettings, client: Any) -> None:
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
    logs.configure("registry-mlflow", _settings.log_level)
    _client = Client(_settings.mlflow_tracking_uri, _settings.storage_archive_path)
    asyncio.run(_main(_settings, _client))
