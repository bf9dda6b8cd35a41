"""The reporting child by hand: what it can't report on, and when it ends."""

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlx_hub.internal.v1 import reporter_pb2 as pb
from mlx_hub.registry.v1.dataset_report_pb2 import ReportParameters

from services.runtime.frames import Frames

ROWS = b'{"text": "abc"}\n{"text": "abcd"}\n'


class Child:
    """One process and this end of its socket."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.runtime.report", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.frames = Frames(ours)
        self.told: list[int] = []

    def ask(self, base: Path, dataset: Path) -> pb.ReportAnswer:
        command = pb.ReportCommand(
            parameters=ReportParameters(max_seq_length=64, batch_size=4),
            base_path=str(base),
            dataset_path=str(dataset),
            dataset_digest=hashlib.sha256(ROWS).hexdigest(),
        )
        self.frames.write(command)
        self.told = []
        while (answer := self.frames.read(pb.ReportAnswer)) is not None:
            if not answer.HasField("progress"):
                return answer
            self.told.append(answer.progress.rows_read)
        raise AssertionError("the child ended")


@pytest.fixture
def child() -> Iterator[Child]:
    running = Child()
    yield running
    running.process.kill()
    running.process.wait()


def test_it_says_why_there_is_no_report_and_goes_on(
    child: Child, tiny_model: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "rows.jsonl"
    dataset.write_bytes(ROWS)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    (broken / "tokenizer.json").write_text("no tokenizer")
    failed = child.ask(broken, dataset).failed
    assert failed.reason == "UNTRAINABLE"
    assert "tokenizer" in failed.message
    assert str(tmp_path) not in failed.message
    failed = child.ask(tiny_model, tmp_path / "missing.jsonl").failed
    assert failed.reason == "ARTIFACT_CORRUPT"
    assert str(tmp_path) not in failed.message
    # Each text ends with a token of its own.
    assert child.ask(tiny_model, dataset).report.tokens.total == 4 + 5
    assert child.told[-1] == 2


def test_it_ends_with_its_parent(child: Child) -> None:
    child.frames.close()
    child.process.wait(60)
    assert child.process.returncode == 0
