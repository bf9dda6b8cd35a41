import pytest
from mlx_hub.client import NotFound, Unavailable, retry
from mlx_hub.client.calls.trainer import tail_logs, watch_job
from mlx_hub.client.watch import LogCursor, WatchCursor
from mlx_hub.trainer.v1.trainer_service_pb2 import WatchTrainingJobRequest
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent
from mlx_hub.trainer.v1.training_job_pb2 import TrainingJob
from mlx_hub.trainer.v1.training_log_pb2 import (
    TailTrainingJobLogsRequest,
    TrainingLogEvent,
    TrainingLogLine,
)

from services.chassis import errors as served
from services.chassis.status import to_status

STATE = TrainingJob(id=1)


def test_it_asks_for_what_the_caller_asked_until_a_frame_came() -> None:
    assert WatchCursor(watch_job(1)).call().request == WatchTrainingJobRequest(job_id=1)
    replay = WatchCursor(watch_job(1, after_sequence=0)).call().request
    assert replay == WatchTrainingJobRequest(job_id=1, after_sequence=0)


def test_it_resumes_after_the_last_frame_and_drops_the_state_it_resumes_with() -> None:
    cursor = WatchCursor(watch_job(1))
    assert cursor.accept(TrainingEvent(sequence=4, job=STATE))
    assert cursor.accept(TrainingEvent(sequence=5))
    assert cursor.call().request == WatchTrainingJobRequest(job_id=1, after_sequence=5)
    assert cursor.accept(TrainingEvent(sequence=5, job=STATE)) is None
    assert cursor.accept(TrainingEvent(sequence=6))


def test_an_error_frame_raises_the_typed_error() -> None:
    frame = TrainingEvent(error=to_status(served.NotFound("JOB_NOT_FOUND", "gone")))
    with pytest.raises(NotFound, match="gone"):
        WatchCursor(watch_job(1)).accept(frame)


def test_pauses_grow_and_start_over_after_a_frame() -> None:
    cursor = WatchCursor(watch_job(1))
    cursor.accept(TrainingEvent(sequence=1))
    lost = Unavailable("lost")
    assert [cursor.pause(lost) for _ in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert cursor.pause(Unavailable("later", retry_after=8)) == 8
    cursor.accept(TrainingEvent(sequence=2))
    assert cursor.pause(lost) == 0.1


def test_it_gives_up_in_time_and_at_once_when_a_repeat_is_no_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("mlx_hub.client.retry.time.monotonic", lambda: now[0])
    cursor = WatchCursor(watch_job(1))
    cursor.accept(TrainingEvent(sequence=1))
    with pytest.raises(NotFound):
        cursor.pause(NotFound("gone"))
    cursor.pause(Unavailable("lost"))
    now[0] += retry.RECONNECT_SECONDS
    with pytest.raises(Unavailable):
        cursor.pause(Unavailable("lost"))


def test_a_tail_resumes_behind_its_last_line() -> None:
    cursor = LogCursor(tail_logs(1, lines=5))
    assert cursor.call().request == TailTrainingJobLogsRequest(job_id=1, lines=5)
    line = TrainingLogLine(sequence=7)
    assert cursor.accept(TrainingLogEvent(line=line)) == line
    assert cursor.call().request == TailTrainingJobLogsRequest(job_id=1, after_sequence=7)
    assert cursor.accept(TrainingLogEvent(line=line)) is None
    assert cursor.accept(TrainingLogEvent(ended=STATE)) is None
