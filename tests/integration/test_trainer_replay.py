"""Replays in a whole trainer: the same bytes, and whatever was tampered with, named exactly."""

import math
from collections.abc import AsyncIterator

import grpc
import pytest
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from mlx_hub.trainer.v1 import replay_pb2
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb

from services.trainer.domain import Order
from services.trainer.recipe import Optimizer, Recipe
from tests.fixtures.holding import Holding
from tests.fixtures.registry import failure
from tests.fixtures.trainer import OpenTrainer, RunningTrainer, until_step

STEPS = 10
RECIPE = {"seed": 3, "validation_fraction": 0.2, "lora_dropout": 0.1}
# What publishing and training leave behind.
LEFT = (
    "SELECT (SELECT count(*) FROM registry.versions), (SELECT count(*) FROM registry.evaluations),"
    " (SELECT count(*) FROM registry.model_events), (SELECT count(*) FROM registry.version_aliases)"
)


@pytest.fixture
async def trainer(open_trainer: OpenTrainer) -> AsyncIterator[RunningTrainer]:
    async with open_trainer() as running:
        # As the administrator: a recorded recipe or version never changes otherwise.
        for table, trigger in (("trainer.jobs", "ALL"), ("registry.versions", "guard")):
            running.hub.sql(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
        yield running


async def trained(trainer: RunningTrainer) -> job_pb.TrainingJob:
    job, _ = await trainer.end((await trainer.create(**RECIPE)).id)
    assert job.status == job_pb.JOB_STATUS_COMPLETED, job.error
    return job


async def replay(trainer: RunningTrainer, original: job_pb.TrainingJob) -> job_pb.TrainingJob:
    """Replay a job to its verdict."""
    request = pb.ReplayTrainingJobRequest(job_id=original.id)
    job, _ = await trainer.end((await trainer.stub.ReplayTrainingJob(request)).id)
    assert job.status == job_pb.JOB_STATUS_COMPLETED, job.error
    return job


def named(verdict: replay_pb2.ReplayVerdict) -> dict[str, tuple[str, str]]:
    """Give the differences, but for a dirty checkout that tests may run in."""
    return {d.name: (d.then, d.now) for d in verdict.differences if d.name != "code_dirty"}


async def test_a_replay_makes_the_same_bytes_and_leaves_nothing(
    trainer: RunningTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    original = await trained(trainer)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    before = trainer.hub.sql(LEFT)
    request = pb.ReplayTrainingJobRequest(job_id=original.id, request_id="once")
    call = trainer.stub.ReplayTrainingJob(request)
    queued = await call
    assert dict(await call.initial_metadata())["location"] == f"/training/jobs/{queued.id}"
    assert (queued.replay_of, queued.seed) == (original.id, original.seed)
    assert (await trainer.stub.ReplayTrainingJob(request)).id == queued.id

    job, events = await trainer.end(queued.id)
    assert (job.status, job.version, job.version_id) == (job_pb.JOB_STATUS_COMPLETED, 0, 0)
    assert events[-1].job == job
    assert job == await trainer.stub.GetTrainingJob(pb.GetTrainingJobRequest(job_id=job.id))
    assert (await trainer.stub.ListTrainingJobs(pb.ListTrainingJobsRequest())).jobs[0] == job
    verdict = job.verdict
    assert verdict.outcome == replay_pb2.REPLAY_OUTCOME_SAME
    assert (verdict.step, verdict.compared_steps, verdict.steps) == (0, STEPS, STEPS)
    named_version = versions_pb.GetModelVersionRequest(model_id=trainer.model_id, version="1")
    checksum = (await trainer.hub.stub.GetModelVersion(named_version)).checksum
    assert verdict.original_digest == verdict.replayed_digest == checksum
    assert named(verdict) == {}
    assert trainer.hub.sql(LEFT) == before
    folders = trainer.hub.settings.storage_active_path / "jobs"
    assert [path for path in folders.iterdir() if path.name == str(job.id)] == []

    again = await failure(
        trainer.stub.ReplayTrainingJob(pb.ReplayTrainingJobRequest(job_id=job.id))
    )
    assert (again.reason, again.metadata["status"]) == ("JOB_STATE", "completed")
    assert f"it is a replay of job {original.id}" in again.message


async def test_each_thing_that_was_tampered_with_is_named(trainer: RunningTrainer) -> None:
    original = await trained(trainer)
    sql, fourth = trainer.hub.sql, " WHERE kind = 'step' AND payload->>'step' = '4' AND job_id = %s"
    loss = (await trainer.trainer.store.losses(original.id))[4]
    # The least change that there is.
    doctored = math.nextafter(loss, math.inf)
    change = "UPDATE trainer.job_events SET payload = jsonb_set(payload, '{loss}', %s::jsonb)"
    sql(change + fourth, repr(doctored), original.id)
    differs = await replay(trainer, original)
    verdict = differs.verdict
    assert verdict.outcome == replay_pb2.REPLAY_OUTCOME_DIFFERS
    assert (verdict.step, verdict.original_loss, verdict.replayed_loss) == (4, doctored, loss)
    assert (differs.progress.step, verdict.compared_steps, verdict.replayed_digest) == (4, 4, "")
    assert named(verdict) == {}
    sql(change + fourth, repr(loss), original.id)

    lineage = "UPDATE registry.versions SET lineage = jsonb_set(lineage, %s, %s::jsonb)"
    sql(lineage, "{training,environment,mlx}", '"0.1"')
    sql("UPDATE registry.versions SET lineage = lineage #- '{training,environment,format}'")
    verdict = (await replay(trainer, original)).verdict
    assert verdict.outcome == replay_pb2.REPLAY_OUTCOME_SAME
    changed = named(verdict)
    assert set(changed) == {"mlx", "format"}
    assert changed["mlx"] == ("0.1", "0.32.4")
    assert changed["format"][0] == "" < changed["format"][1]

    # The first loss comes before the first update, so that another rate shows at the second.
    sql("UPDATE trainer.jobs SET learning_rate = 0.002 WHERE id = %s", original.id)
    verdict = (await replay(trainer, original)).verdict
    assert (verdict.outcome, verdict.step) == (replay_pb2.REPLAY_OUTCOME_DIFFERS, 2)
    assert named(verdict)["recipe.learning_rate"] == ("0.001", "0.002")
    sql("UPDATE trainer.jobs SET learning_rate = 0.001 WHERE id = %s", original.id)

    sql(lineage, "{adapter_digest}", '"0"')
    sql(lineage, "{files,0,sha256}", '"0"')
    verdict = (await replay(trainer, original)).verdict
    assert verdict.outcome == replay_pb2.REPLAY_OUTCOME_DIFFERS_AFTER_LAST_LOSS
    assert (verdict.step, verdict.compared_steps) == (0, STEPS)
    assert len(verdict.differing_files) == 1


async def test_a_job_that_went_back_is_replayed_by_the_losses_that_count(
    trainer: RunningTrainer,
) -> None:
    """A real overflow takes a scale that no request may name (see test_trainer_guards)."""
    trainer.hub.sql("ALTER TABLE trainer.jobs DROP CONSTRAINT ck_jobs_lora_scale")
    recipe = Recipe(
        optimizer=Optimizer.LION,
        learning_rate=1,
        lora_scale=3e18,
        warmup_steps=8,
        lora_dropout=0.1,
        validation_fraction=0,
        nonfinite_lr_factor=0.01,
        epochs=2,
        checkpoint_every_steps=2,
        evaluate=False,
        samples=0,
    )
    store = trainer.trainer.store
    queued = await store.create(Order(trainer.model_id, trainer.dataset_id, recipe))
    original, events = await trainer.end(queued.id)
    [lowered] = [e.learning_rate_lowered for e in events if e.HasField("learning_rate_lowered")]
    steps = [event.step.step for event in events if event.HasField("step")]
    again = range(lowered.resumed_from_step + 1, lowered.step)
    assert [step for step in steps if steps.count(step) == 2] == [*again, *again]

    verdict = (await replay(trainer, original)).verdict
    assert verdict.outcome == replay_pb2.REPLAY_OUTCOME_SAME, named(verdict)
    assert verdict.compared_steps == verdict.steps == original.progress.total_steps


async def test_what_can_not_be_repeated_is_refused(trainer: RunningTrainer) -> None:
    original = await trained(trainer)
    request = pb.ReplayTrainingJobRequest(job_id=original.id)
    digest = "UPDATE registry.base_models SET digest = %s"
    trainer.hub.sql(digest, "f" * 64)
    refused = await failure(trainer.stub.ReplayTrainingJob(request))
    assert refused.reason == "REPLAY_INPUTS_CHANGED"
    assert refused.metadata == {"job_id": str(original.id), "changed": "base model"}
    # It may also change while the replay waits.
    store = trainer.trainer.store
    waited = await store.create((await store.get(original.id)).again())
    failed, events = await trainer.end(waited.id)
    assert (failed.status, failed.error.reason) == (job_pb.JOB_STATUS_FAILED, refused.reason)
    assert failed.error.message == refused.message
    assert not [event for event in events if event.HasField("step")]
    trainer.hub.sql(digest, trainer.hub.base_digest)

    trainer.hub.sql("UPDATE trainer.jobs SET version = 9 WHERE id = %s", original.id)
    assert (await failure(trainer.stub.ReplayTrainingJob(request))).reason == "VERSION_NOT_FOUND"
    missing = pb.ReplayTrainingJobRequest(job_id=99)
    assert (await failure(trainer.stub.ReplayTrainingJob(missing))).reason == "JOB_NOT_FOUND"
    running = await trainer.reach(1, epochs=1000)
    unfinished = pb.ReplayTrainingJobRequest(job_id=running.id)
    error = await failure(trainer.stub.ReplayTrainingJob(unfinished))
    assert (error.reason, error.metadata["status"]) == ("JOB_STATE", "running")


async def test_an_interrupted_replay_is_judged_over_all_steps(
    open_trainer: OpenTrainer, holding: Holding
) -> None:
    async with open_trainer() as first:
        original = await trained(first)
        request = pb.ReplayTrainingJobRequest(job_id=original.id)
        with holding(4):
            job = await first.stub.ReplayTrainingJob(request)
            await until_step(first.stub, job.id, 4)
        await first.trainer.supervisor.stop()
        left = await first.stub.GetTrainingJob(pb.GetTrainingJobRequest(job_id=job.id))
        assert left.status == job_pb.JOB_STATUS_QUEUED
    # As if the trainer had died behind the checkpoint of step 4 and before its reports were stored.
    kept = "DELETE FROM trainer.job_events WHERE job_id = %s AND payload->>'step' IN ('3', '4')"
    first.hub.sql(kept, job.id)
    async with open_trainer() as second:
        request_of = pb.WatchTrainingJobRequest(job_id=job.id, after_sequence=0)
        frames = [frame async for frame in second.stub.WatchTrainingJob(request_of)]
    again = [f.step.step for f in frames if f.HasField("step") and f.attempt == 2]
    assert again[0] == 3
    verdict = frames[-1].job.verdict
    assert verdict.outcome == replay_pb2.REPLAY_OUTCOME_SAME
    assert verdict.compared_steps == verdict.steps == STEPS


async def test_a_cancelled_replay_has_no_verdict_and_can_be_retried(
    trainer: RunningTrainer, holding: Holding
) -> None:
    original = await trained(trainer)
    request = pb.ReplayTrainingJobRequest(job_id=original.id)
    with holding(1):
        job = await trainer.stub.ReplayTrainingJob(request)
        await until_step(trainer.stub, job.id, 1)
    await trainer.stub.CancelTrainingJob(pb.CancelTrainingJobRequest(job_id=job.id))
    cancelled, _ = await trainer.end(job.id)
    assert cancelled.status == job_pb.JOB_STATUS_CANCELLED
    assert not cancelled.HasField("verdict")
    await trainer.stub.RetryTrainingJob(pb.RetryTrainingJobRequest(job_id=job.id))
    ended, _ = await trainer.end(job.id)
    assert ended.verdict.outcome == replay_pb2.REPLAY_OUTCOME_SAME
    assert ended.verdict.compared_steps == STEPS
    with pytest.raises(grpc.aio.AioRpcError):
        await trainer.stub.RetryTrainingJob(pb.RetryTrainingJobRequest(job_id=job.id))
