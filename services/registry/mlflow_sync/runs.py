"""A run for each attempt at a job, named and found by its tags."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from services.registry.domain import Version, VersionStatus
from services.registry.lineage import AttemptOutcome, Lineage
from services.registry.mlflow_sync.tags import tags_of, tags_of_attempt, tags_of_origin
from services.registry.papers import MANIFEST
from services.registry.store.outbox import Job
from services.registry.training import Ended, Fact, Measured, Started

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

ADAPTER = "adapter"
MAX_METRICS = 1000  # of one call
FINISHED = "FINISHED"
STATUS = {
    AttemptOutcome.FINISHED: FINISHED,
    AttemptOutcome.FAILED: "FAILED",
    AttemptOutcome.LOST: "FAILED",
    AttemptOutcome.CANCELLED: "KILLED",
    AttemptOutcome.HANDED_BACK: "KILLED",
}


class Runs:
    """Writes what is known of attempts; facts and version may come in either order."""

    def __init__(self, mlflow: "MlflowClient", archive: Path, cold: Path) -> None:
        """Know MLflow, and where the versions' files are."""
        self._mlflow = mlflow
        self._archive = archive
        self._cold = cold

    def record(self, experiment: str, job: Job, *, retried: bool) -> None:
        """Write facts of a job into the runs of its attempts."""
        for attempt, facts in itertools.groupby(job.facts, key=lambda fact: fact.attempt):
            told = list(facts)
            tags, name = tags_of_attempt(job.id, attempt), _run_name(job.id, attempt)
            run = self._of(experiment, tags, name, told[0].occurred_at)
            for fact in told:
                if isinstance(fact.happening, Started):
                    self._start(run.info.run_id, fact.happening, job)
            self._measure(run.info.run_id, _points(told), retried=retried)
            for fact in told:
                if isinstance(fact.happening, Ended):
                    self._end(run.info.run_id, fact.happening, fact.occurred_at)

    def publish(self, experiment: str, version: Version, lineage: Lineage) -> str:
        """Write a version into the run of the attempt that made it, and give the run's id.

        An imported version has a run of its own, without parameters.
        """
        from mlflow import entities  # noqa: PLC0415

        training = lineage.training
        begun = (training and training.started_at) or version.created_at
        name = _run_name(training.job_id, training.attempt) if training else _import_name(version)
        run = self._of(experiment, tags_of_origin(version, lineage), name, begun)
        run_id: str = run.info.run_id
        tags = tags_of(version, lineage)
        parameters = training.parameters if training else {}
        self._mlflow.log_batch(
            run_id,
            params=[entities.Param(key, v) for key, v in parameters.items()],
            tags=[entities.RunTag(key, v) for key, v in tags.items()],
        )
        # Beside the steps' own, under names of their own.
        final = {f"final_{key}": value for key, value in version.metrics.items()}
        self._measure(run_id, [_point(final, version.created_at, 0)], retried=True)
        if lineage.dataset_digest:
            self._feed(run_id, lineage.dataset_name, lineage.dataset_digest)
        if version.status is not VersionStatus.FAILED:
            # A version from before there were papers has its manifest alone.
            for name in {MANIFEST, *(file.name for file in lineage.stored)}:
                path = self._place_of(version) / version.artifact_path / name
                self._mlflow.log_artifact(run_id, str(path), ADAPTER)
        if run.info.status != FINISHED:
            ended = (training and training.finished_at) or version.created_at
            self._mlflow.set_terminated(run_id, FINISHED, end_time=_milliseconds(ended))
        return run_id

    def _place_of(self, version: Version) -> Path:
        return self._cold if version.status is VersionStatus.ARCHIVED else self._archive

    def _of(self, experiment: str, tags: Mapping[str, str], name: str, begun: datetime) -> "Run":
        """Find a run by what tells it from all others, or begin it."""
        own = " AND ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        runs = self._mlflow.search_runs([experiment], own, max_results=1)
        if runs:
            return runs[0]
        return self._mlflow.create_run(experiment, _milliseconds(begun), dict(tags), name)

    def _start(self, run_id: str, started: Started, job: Job) -> None:
        from mlflow import entities  # noqa: PLC0415

        params = [entities.Param(key, value) for key, value in started.parameters.items()]
        self._mlflow.log_batch(run_id, params=params)
        if dataset := job.datasets.get(started.dataset_id):
            name, digest = dataset
            self._feed(run_id, name, digest)

    def _feed(self, run_id: str, name: str, digest: str) -> None:
        """Name the dataset; MLflow takes 36 characters of a digest, and the tag has all."""
        from mlflow import entities  # noqa: PLC0415

        data = entities.Dataset(
            name=name, digest=digest[:36], source_type="mlx-hub", source=f"sha256:{digest}"
        )
        context = entities.InputTag("mlflow.data.context", "training")
        self._mlflow.log_inputs(run_id, [entities.DatasetInput(data, [context])])
        self._mlflow.set_tag(run_id, "mlx_hub.dataset_digest", digest)

    def _measure(self, run_id: str, points: Iterable[list["Metric"]], *, retried: bool) -> None:
        """Log what was measured at each point; on a retry only where the run has it not yet.

        MLflow gives a metric's history whole, so one metric of a point stands for all: the last,
        since no call splits a point.
        """
        news = [point for point in points if point]
        if retried:
            known = {
                (metric.key, metric.step)
                for key in {point[-1].key for point in news}
                for metric in self._mlflow.get_metric_history(run_id, key)
            }
            news = [point for point in news if (point[-1].key, point[-1].step) not in known]
        batch: list[Metric] = []
        for point in news:
            if len(batch) + len(point) > MAX_METRICS:
                self._mlflow.log_batch(run_id, metrics=batch)
                batch = []
            batch += point
        if batch:
            self._mlflow.log_batch(run_id, metrics=batch)

    def _end(self, run_id: str, ended: Ended, at: datetime) -> None:
        tags: Mapping[str, str] = {"mlx_hub.outcome": ended.outcome}
        if ended.reason:
            tags = {**tags, "mlx_hub.error_reason": ended.reason}
        for key, value in tags.items():
            self._mlflow.set_tag(run_id, key, value)
        self._mlflow.set_terminated(run_id, STATUS[ended.outcome], end_time=_milliseconds(at))


def _run_name(job_id: int, attempt: int) -> str:
    return f"job {job_id}, attempt {attempt}"


def _import_name(version: Version) -> str:
    return f"import of version {version.version}"


def _points(facts: Iterable[Fact]) -> Iterator[list["Metric"]]:
    for fact in facts:
        if isinstance(fact.happening, Measured):
            yield _point(fact.happening.metrics, fact.occurred_at, fact.happening.step)


def _point(metrics: Mapping[str, float], at: datetime, step: int) -> list["Metric"]:
    from mlflow import entities  # noqa: PLC0415

    stamp = _milliseconds(at)
    return [entities.Metric(key, metrics[key], stamp, step) for key in sorted(metrics)]


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
