"""The child's life: low priority, one job from the socket, one answer."""

import errno
import logging
import os
import sys

from services.chassis import logs
from services.runtime import model as runtime
from services.trainer.worker.failures import Stopped, TrainingFailed
from services.trainer.worker.link import Link

# Serving comes first on a shared machine.
NICENESS = 15


def main(arguments: list[str]) -> int:
    """Run the job that the supervisor sends over the inherited socket."""
    os.nice(NICENESS)
    link = Link(int(arguments[0]))
    command = link.receive_job()
    ids: dict[str, object] = {"job_id": command.job.id, "attempt": command.job.attempt}
    if trace_id := logs.trace_id(command.traceparent):
        ids["trace_id"] = trace_id
    # Never text: the trainer reads these lines, for the job's log.
    logs.configure("trainer-worker", os.environ.get("LOG_LEVEL", "INFO"), "json", ids)
    logging.info("job %d, attempt %d", command.job.id, command.job.attempt)
    blas = runtime.prepare()
    # It imports MLX, which has to be prepared first.
    from services.trainer.worker.run import run  # noqa: PLC0415

    try:
        link.finished(run(link, command, blas))
    except Stopped as stop:
        link.stopped(stop.step)
    except TrainingFailed as failure:
        link.failed(failure)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        link.failed(TrainingFailed("DISK_FULL", "the data volume is full; free space and retrain"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
