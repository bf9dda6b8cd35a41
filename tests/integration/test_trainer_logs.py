"""The log of a job through the trainer: what is said of it, and what its worker prints."""

import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb
from mlx_hub.trainer.v1 import training_log_pb2 as log_pb
from mlx_hub.trainer.v1.training_log_pb2 import TrainingLogEvent, TrainingLogLine

from tests.fixtures.holding import workers
from tests.fixtures.registry import failure
from tests.fixtures.trainer import OpenTrainer, RunningTrainer


@pytest.fixture
async def trainer(open_trainer: OpenTrainer) -> AsyncIterator[RunningTrainer]:
    async with open_trainer() as running:
        yield running


async def pages(trainer: RunningTrainer, job_id: int, **fields: Any) -> list[TrainingLogLine]:
    """Read every page."""
    lines: list[TrainingLogLine] = []
    token = ""
    while True:
        request = log_pb.ListTrainingJobLogsRequest(job_id=job_id, page_token=token, **fields)
        page = await trainer.stub.ListTrainingJobLogs(request)
        lines += page.lines
        if not (token := page.next_page_token):
            return lines


async def tail(trainer: RunningTrainer, job_id: int, **fields: Any) -> list[TrainingLogEvent]:
    request = log_pb.TailTrainingJobLogsRequest(job_id=job_id, **fields)
    return [frame async for frame in trainer.stub.TailTrainingJobLogs(request)]


async def test_a_log_is_read_by_page_and_followed_to_the_end(trainer: RunningTrainer) -> None:
    job = await trainer.create(epochs=1)
    frames = await tail(trainer, job.id, after_sequence=0)
    assert frames[-1].ended.status == job_pb.JOB_STATUS_COMPLETED
    lines = [frame.line for frame in frames[:-1]]
    assert [line.sequence for line in lines] == list(range(1, len(lines) + 1))
    said = [line.message for line in lines if line.source == log_pb.TRAINING_LOG_SOURCE_TRAINER]
    assert (said[0], said[-1]) == ("attempt 1 begins", "version 1 is published")
    assert any(words.startswith("training begins: 5 steps, ") for words in said)
    printed = [line for line in lines if line.source == log_pb.TRAINING_LOG_SOURCE_WORKER]
    assert "job 1, attempt 1" in [line.message for line in printed]

    assert await pages(trainer, job.id, page_size=2) == lines
    assert await pages(trainer, job.id, page_size=3, newest_first=True) == lines[::-1]
    assert await pages(trainer, job.id, after_sequence=2) == lines[2:]
    assert [f.line for f in (await tail(trainer, job.id, lines=2))[:-1]] == lines[-2:]
    assert len(await tail(trainer, job.id, lines=0)) == 1
    assert len(await tail(trainer, job.id)) == len(frames)


async def test_what_is_asked_wrongly_is_refused(trainer: RunningTrainer) -> None:
    missing = await failure(pages(trainer, 99))
    assert (missing.reason, missing.metadata) == ("JOB_NOT_FOUND", {"job_id": "99"})
    assert (await failure(tail(trainer, 99))).reason == "JOB_NOT_FOUND"
    job, _ = await trainer.end((await trainer.create(epochs=1)).id)
    both = await failure(tail(trainer, job.id, lines=1, after_sequence=1))
    assert (both.reason, both.metadata) == ("INVALID_FIELD", {"field": "lines"})
    request = log_pb.ListTrainingJobLogsRequest(job_id=job.id, page_size=1)
    request.page_token = (await trainer.stub.ListTrainingJobLogs(request)).next_page_token
    request.newest_first = True
    other = await failure(trainer.stub.ListTrainingJobLogs(request))
    assert other.reason == "INVALID_PAGE_TOKEN"


async def test_an_aborting_workers_last_words_are_shown_and_its_stack_is_not(
    trainer: RunningTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
    job = await trainer.reach(2, epochs=1000, max_attempts=1)
    [child] = workers()
    child.send_signal(signal.SIGABRT)
    ended, _ = await trainer.end(job.id)
    assert ended.status == job_pb.JOB_STATUS_FAILED
    lines = await pages(trainer, job.id)
    errors = [line.message for line in lines if line.level == log_pb.TRAINING_LOG_LEVEL_ERROR]
    assert "Fatal Python error: Aborted" in errors
    assert any("SIGABRT" in words for words in errors)
    assert not [line.message for line in lines if re.search(r"/\w+/\w+|\.py\b", line.message)]
    folder = trainer.hub.settings.home / "logs" / "jobs" / str(job.id)
    assert "services/trainer/worker" in (folder / "attempt-1.log").read_text()


async def test_a_tail_says_that_the_trainer_shuts_down(trainer: RunningTrainer) -> None:
    job = await trainer.reach(1, epochs=1000)
    await trainer.trainer.logs.close()
    error = await failure(tail(trainer, job.id, lines=0))
    assert error.reason == "SHUTTING_DOWN"
