"""The child's life: low priority, one report after another, until the socket closes."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mlx_hub.internal.v1 import reporter_pb2 as pb
from mlx_hub.registry.v1 import dataset_report_pb2

from services.chassis import logs
from services.runtime import model
from services.runtime.encoding import Encoder
from services.runtime.frames import FrameError, Frames
from services.runtime.report.summary import summarize
from services.runtime.report.survey import Survey
from services.runtime.rows import ChangedError, Row, Split, read_rows

# Behind serving, before training: somebody waits for the answer.
NICENESS = 10
TELL_S = 1.0

type Tell = Callable[[int], None]


class NoReportError(Exception):
    """There is none, and trying again gives none."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def report_on(command: pb.ReportCommand, tell: Tell) -> dataset_report_pb2.DatasetReport:
    """Read the dataset and report, telling now and then how many rows were read."""
    options = command.parameters
    encoder = Encoder(
        _tokenizer(Path(command.base_path)),
        mask_prompt=options.mask_prompt,
        max_length=options.max_seq_length,
    )
    survey = Survey()
    split = Split(options.seed, options.validation_fraction, options.test_fraction)
    try:
        rows = read_rows(Path(command.dataset_path), command.dataset_digest)
        survey.read(_told(rows, tell), encoder, split)
    except (ChangedError, OSError) as error:
        raise NoReportError("ARTIFACT_CORRUPT", _plain(error)) from error
    return summarize(survey, options)


def _told(rows: Iterable[Row], tell: Tell) -> Iterator[Row]:
    count, due = 0, time.monotonic() + TELL_S
    for row in rows:
        yield row
        count += 1
        if time.monotonic() >= due:
            tell(count)
            due = time.monotonic() + TELL_S
    tell(count)  # comparing them may take as long again


@lru_cache(maxsize=1)
def _tokenizer(path: Path) -> Any:
    try:
        return model.load_tokenizer(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split()).replace(str(path), path.name)[:200]
        text = f"the base model's tokenizer can't be loaded: {why}"
        raise NoReportError("UNTRAINABLE", text) from error


def _plain(error: ChangedError | OSError) -> str:
    """Say what happened without a path of the node."""
    if isinstance(error, OSError):
        return f"the stored dataset can't be read ({error.strerror}); register the file again"
    return str(error)


def _answer(command: pb.ReportCommand, frames: Frames) -> pb.ReportAnswer:
    def tell(rows_read: int) -> None:
        frames.write(pb.ReportAnswer(progress=pb.ReportProgress(rows_read=rows_read)))

    try:
        return pb.ReportAnswer(report=report_on(command, tell))
    except NoReportError as error:
        failed = pb.ReportFailed(reason=error.reason, message=str(error))
        return pb.ReportAnswer(failed=failed)


def _listen(frames: Frames, commands: "SimpleQueue[pb.ReportCommand]") -> None:
    """Take commands in; once nobody can hear an answer, end the process wherever it is."""
    try:
        while (command := frames.read(pb.ReportCommand)) is not None:
            commands.put(command)
    except (OSError, FrameError):
        pass
    os._exit(0)


def main(arguments: list[str]) -> int:
    """Answer what comes over the inherited socket."""
    os.nice(NICENESS)
    logs.configure("registry-report", "WARNING")
    frames = Frames.inherited(int(arguments[0]))
    commands: SimpleQueue[pb.ReportCommand] = SimpleQueue()
    threading.Thread(target=_listen, args=(frames, commands), daemon=True).start()
    model.prepare()
    while True:
        frames.write(_answer(commands.get(), frames))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
