"""What the registry hears of a job's log."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from mlx_hub.registry.v1 import lineage_pb2
from mlx_hub.registry.v1 import training_record_pb2 as pb

from services.trainer.domain import JobStatus, TrainingJob
from services.trainer.events import Event, StoredEvent
from services.trainer.recipe import Recipe
from services.trainer.records import facts_of
from services.trainer.reports import Checkpoint, Step, Validation

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUEUED = TrainingJob(5, JobStatus.QUEUED, 1, 2, Recipe(), 2, NOW)
RUNNING = QUEUED.claim(NOW, "owner", "node", timedelta(seconds=1))


def told(before: TrainingJob | None, events: Iterable[Event]) -> list[pb.TrainingFact]:
    stored = [StoredEvent(n, 1, NOW, event) for n, event in enumerate(events, start=7)]
    return list(facts_of(before, stored))


def test_a_claim_starts_an_attempt_and_steps_are_measured() -> None:
    step = Step(3, 9, 1, 2.5, 1e-4, float("inf"), 100.0, 2.75, 60.0, None, 12.0)
    facts = told(None, [QUEUED, RUNNING, step, Validation(3, 2.0), Checkpoint(3)])
    assert [fact.sequence for fact in facts] == [8, 9, 10]
    assert facts[0].started.dataset_id == 2
    assert facts[0].started.parameters["lora_rank"] == "8"
    assert facts[1].measured.step == 3
    expected = {"epoch": 1.0, "loss": 2.5, "learning_rate": 1e-4, "peak_memory_bytes": 100.0}
    expected |= {"smoothed_loss": 2.75, "trained_tokens": 12.0}
    assert dict(facts[1].measured.metrics) == expected
    assert dict(facts[2].measured.metrics) == {"val_loss": 2.0}


@pytest.mark.parametrize(
    ("after", "outcome"),
    [
        (RUNNING.hand_back(NOW), lineage_pb2.ATTEMPT_OUTCOME_HANDED_BACK),
        (RUNNING.lose(NOW, "gone"), lineage_pb2.ATTEMPT_OUTCOME_LOST),
        (replace(RUNNING, failed_attempts=1).lose(NOW, "gone"), lineage_pb2.ATTEMPT_OUTCOME_FAILED),
        (RUNNING.fail(NOW, "DISK_FULL", "full"), lineage_pb2.ATTEMPT_OUTCOME_FAILED),
        (RUNNING.publish(NOW).complete(NOW, 4, 1), lineage_pb2.ATTEMPT_OUTCOME_FINISHED),
        (RUNNING.request_cancel(NOW).cancelled(NOW), lineage_pb2.ATTEMPT_OUTCOME_CANCELLED),
    ],
)
def test_an_attempt_ends_as_the_job_says(
    after: TrainingJob, outcome: lineage_pb2.AttemptOutcome.ValueType
) -> None:
    [fact] = told(RUNNING, [after])
    assert fact.ended.outcome == outcome
    assert fact.ended.reason == (after.error_reason or "")
    assert "gone" not in str(fact)


def test_a_job_that_waits_has_no_attempt_to_end() -> None:
    waiting = RUNNING.hand_back(NOW)
    assert told(waiting, [waiting.request_cancel(NOW)]) == []
    assert told(None, [QUEUED, QUEUED.request_cancel(NOW)]) == []
