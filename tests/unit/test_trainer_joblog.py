"""A job's log as a file: found by sequence, bounded, written by the newest attempt alone."""

import fcntl
import logging
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.chassis.logs import JsonLines
from services.trainer.joblog import file as joblog_file
from services.trainer.joblog import folder as joblog_folder
from services.trainer.joblog import lines
from services.trainer.joblog.file import LogFile
from services.trainer.joblog.folder import JobLogs
from services.trainer.joblog.lines import Draft, Level, Line, Source
from services.trainer.joblog.scrub import Scrubber

TRACE = """Traceback (most recent call last):
  File "/srv/hub/worker.py", line 3, in run
    raise ValueError
ValueError: no weights in /srv/models/tiny/model.safetensors
"""


def write(log: LogFile, words: Sequence[str], attempt: int = 1) -> None:
    log.append(attempt, lambda _: [Draft(text) for text in words])


def everything(log: LogFile) -> list[Line]:
    found: list[Line] = []
    while (page := log.forward(found[-1].sequence if found else 0, 1000)).lines:
        found += page.lines
    return found


def said(logs: JobLogs, job_id: int = 1) -> list[tuple[int, str]]:
    return [(line.attempt, line.draft.message) for line in everything(logs.file(job_id))]


@pytest.fixture
def logs(tmp_path: Path) -> JobLogs:
    return JobLogs(tmp_path, Scrubber([], {}))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.lists(st.text(max_size=1500), min_size=1, max_size=60),
    st.integers(0, 70),
    st.integers(1, 20),
    st.binary(max_size=30),
)
def test_pages_of_both_orders_give_every_line_once(
    tmp_path: Path, words: list[str], after: int, count: int, torn: bytes
) -> None:
    path = tmp_path / "lines.jsonl"
    path.unlink(missing_ok=True)
    log = LogFile(path)
    write(log, words)
    with path.open("ab") as file:
        file.write(torn.replace(b"\n", b""))
    expected = list(range(after + 1, len(words) + 1))
    last, seen, more = after, [], True
    while more:
        page = log.forward(last, count)
        seen += [line.sequence for line in page.lines]
        more, last = page.more, seen[-1] if seen else after
    assert seen == expected
    assert [line.draft.message for line in log.forward(after, 99).lines] == words[after:]
    before, back, more = None, list[int](), True
    while more:
        page = log.backward(before, after, count)
        back += [line.sequence for line in page.lines]
        more, before = page.more, back[-1] if back else None
    assert back == expected[::-1]
    write(log, ["behind a torn line"])
    assert everything(log)[-1].sequence == len(words) + 1


def test_a_line_of_many_is_found_without_reading_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogFile(tmp_path / "lines.jsonl")
    write(log, [f"line {n} {'x' * (n % 90)}" for n in range(1, 60_001)])
    assert len(everything(log)) == 60_000
    decoded = 0
    decode = lines.decode

    def counted(text: bytes) -> Line:
        nonlocal decoded
        decoded += 1
        return decode(text)

    monkeypatch.setattr(lines, "decode", counted)
    for after in (0, 1, 31_415, 59_990):
        assert [line.sequence for line in log.forward(after, 5).lines] == list(
            range(after + 1, after + 6)
        )
    assert [line.sequence for line in log.backward(31_415, 0, 3).lines] == [31_414, 31_413, 31_412]
    assert decoded < 1500


def test_a_page_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblog_file, "PAGE_BYTES", 20_000)
    log = LogFile(tmp_path / "lines.jsonl")
    write(log, ["x" * 1000] * 100)
    forward, backward = log.forward(0, 100), log.backward(None, 0, 100)
    assert forward.more and backward.more
    assert 10 < len(forward.lines) < 20
    assert 10 < len(backward.lines) < 40


def test_a_log_that_is_full_says_what_is_gone(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "lines.jsonl", limit=20_000)
    for number in range(1, 301):
        write(log, [f"line {number}"], attempt=1 + number // 200)
    left = everything(log)
    assert (tmp_path / "lines.jsonl").stat().st_size <= 20_000
    assert [b.sequence - a.sequence for a, b in pairwise(left)] == [1] * (len(left) - 1)
    assert left[0].draft.message.startswith(f"lines 1 to {left[0].sequence} are gone")
    assert left[0].draft.level is Level.WARNING
    assert (left[-1].sequence, left[-1].draft.message) == (300, "line 300")
    assert [line.draft.message for line in left[1:]] == [f"line {n.sequence}" for n in left[1:]]


def test_an_older_attempt_that_wakes_up_writes_nothing(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "lines.jsonl")
    write(log, ["a"], attempt=1)
    write(log, ["b"], attempt=2)
    write(log, ["late"], attempt=1)
    assert [line.draft.message for line in everything(log)] == ["a", "b"]


def test_a_writer_that_was_stopped_holds_no_other_up_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joblog_file, "_LOCK_SECONDS", 0)
    log = LogFile(tmp_path / "lines.jsonl")
    with (tmp_path / "lines.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            write(log, ["a"])
    write(log, ["b"])
    assert [line.draft.message for line in everything(log)] == ["b"]


def test_what_a_worker_prints_becomes_lines_as_it_comes(logs: JobLogs) -> None:
    skipped = logging.makeLogRecord({"levelname": "WARNING", "msg": "checkpoint 2 is skipped"})
    with logs.open_output(1, 1) as output:
        for piece in (
            JsonLines("trainer-worker").format(skipped) + "\nhal",
            "f\n",
            TRACE[:60],
            TRACE[60:],
            "terminate called after throwing an instance\nlast words",
        ):
            output.write(piece.encode())
            output.flush()
            logs.take(1, 1)
            logs.take(1, 1)
    found = [line.draft for line in everything(logs.file(1))]
    assert [draft.message for draft in found] == [
        "checkpoint 2 is skipped",
        "half",
        "ValueError: no weights in …/model.safetensors",
        "terminate called after throwing an instance",
    ]
    levels = [draft.level for draft in found]
    assert levels == [Level.WARNING, Level.INFO, Level.ERROR, Level.ERROR]
    assert {draft.source for draft in found} == {Source.WORKER}
    logs.settle(1)
    logs.settle(1)
    assert said(logs)[4:] == [(1, "last words")]


def test_what_nobody_listened_to_is_taken_before_a_later_attempt_begins(
    logs: JobLogs, tmp_path: Path
) -> None:
    with logs.open_output(1, 1) as output:
        output.write(b"one\ntwo\n")
    logs.take(1, 1)
    with logs.open_output(1, 1) as output:
        output.write(b"three\n" + TRACE.encode())
    with logs.open_output(1, 2) as output:
        output.write(b"four\n")
    logs.settle(1, before=2)
    logs.take(1, 2, final=True)
    words = ["one", "two", "three", "ValueError: no weights in …/model.safetensors"]
    assert said(logs) == [*((1, word) for word in words), (2, "four")]
    assert TRACE in (tmp_path / "1" / "attempt-1.log").read_text()
    assert not list(tmp_path.rglob("*.out"))


def test_output_without_end_is_taken_in_pieces_and_begun_again(
    logs: JobLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joblog_folder, "_PIECE", 100)
    monkeypatch.setattr(joblog_folder, "OUTPUT_BYTES", 1000)
    with logs.open_output(1, 1) as output:
        output.write(b"".join(b"number %d\n" % n for n in range(200)))
        output.flush()
        logs.take(1, 1)
        assert (tmp_path / "1" / "attempt-1.out").stat().st_size == 0
        output.write(b"again\n")
    logs.take(1, 1, final=True)
    words = [message for _, message in said(logs)]
    assert words[:200] == [f"number {n}" for n in range(200)]
    assert words[200:] == ["the worker printed 2090 bytes; its file begins again", "again"]


def test_old_logs_and_those_without_room_go(
    logs: JobLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = (tmp_path / "x").parent.stat().st_mtime
    for job_id in range(1, 6):
        write(logs.file(job_id), ["x" * 100])
        age = 86400 * (40 if job_id == 5 else 5 - job_id)
        for path in (tmp_path / str(job_id)).iterdir():
            os.utime(path, (now - age, now - age))
    monkeypatch.setattr(joblog_folder, "KEPT_BYTES", 600)
    logs.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"]
    assert everything(logs.file(1)) == []
