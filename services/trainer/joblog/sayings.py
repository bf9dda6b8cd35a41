"""What a worker reports, in words for the job's log; its steps are events, and no lines."""

from google.protobuf.json_format import MessageToDict
from mlx_hub.internal.v1 import worker_pb2 as pb

from services.trainer.joblog.lines import Level

_SILENT = ("step", "finished", "failed", "stopped")


def saying(event: pb.WorkerEvent) -> tuple[str, Level] | None:
    """Give the line of a report, if it has one."""
    kind = event.WhichOneof("event")
    if kind is None or kind in _SILENT:
        return None
    if kind == "started":
        return _started(event.started), Level.INFO
    told = MessageToDict(getattr(event, kind), preserving_proto_field_name=True)
    words = ", ".join(f"{name} {_short(value)}" for name, value in told.items())
    return f"{kind.replace('_', ' ')}: {words}", Level.INFO


def _started(started: pb.WorkerStarted) -> str:
    step, total = started.resumed_from_step, started.total_steps
    begins = f"goes on behind step {step}" if step else "begins"
    rows = f"{started.train_rows} rows to train on, {started.valid_rows} held out"
    return f"training {begins}: {total} steps, {rows}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
