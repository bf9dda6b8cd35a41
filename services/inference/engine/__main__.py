"""`python -m services.inference.engine FD BASE_PATH`: started by the inference service only."""

import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from mlx_hub.internal.v1 import engine_pb2

from services.chassis import logs
from services.chassis.errors import HubError, Unavailable
from services.runtime.folder import FolderError
from services.runtime.frames import Frames
from services.runtime.model import prepare

log = logging.getLogger(__name__)


def main(descriptor: int, base: Path) -> int:
    """Serve one base model over the inherited socket until the service closes it."""
    # Signals to the whole group reach engines, too, but the service drains first: this
    # process ends when the service closes the socket, or dies.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    form = os.environ.get("MLX_HUB_LOG_FORMAT", "auto")
    logs.configure("inference-engine", os.environ.get("LOG_LEVEL", "INFO"), form)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    frames = Frames.inherited(descriptor)
    first = frames.read(engine_pb2.EngineCommand)
    if first is None:
        return 0
    prepare()
    # They import MLX, which has to be prepared first.
    from services.inference.engine.loop import Engine  # noqa: PLC0415
    from services.inference.engine.text import failed_frame  # noqa: PLC0415

    try:
        Engine(frames).run(base, first.start)
    except Exception as error:
        log.error("the engine ends", exc_info=error)
        with contextlib.suppress(OSError):  # the service may have gone first
            frames.write(failed_frame(0, _start_failed(error)))
    return 1


def _start_failed(error: Exception) -> HubError:
    """Say why; only messages that are made for people leave the node."""
    known = isinstance(error, FolderError | HubError)
    why = str(error) if known else f"{type(error).__name__}; the log has more"
    return Unavailable("ENGINE_START_FAILED", f"the engine can't serve this model: {why}")


if __name__ == "__main__":
    code = main(int(sys.argv[1]), Path(sys.argv[2]))
    logging.shutdown()
    # Not sys.exit: MLX's threads abort the interpreter's own way out now and then.
    os._exit(code)
