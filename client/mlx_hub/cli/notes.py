"""What a job's event says in one line, also one that is newer than this program."""

from google.protobuf.json_format import MessageToDict
from mlx_hub.cli.curve import status_name
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent


def note(event: TrainingEvent) -> str:
    """The event as a line: its step, what it is, and what else it says."""
    kind = event.WhichOneof("event")
    if kind is None:
        return f"event {event.sequence} is of a kind that this program does not know"
    if kind == "job":
        return f"job {event.job.id} is {status_name(event.job)}"
    if kind == "validation":
        return f"step {event.validation.step}  val loss {event.validation.val_loss:.3f}"
    if kind == "checkpoint":
        return f"step {event.checkpoint.step}  checkpoint saved"
    told = MessageToDict(getattr(event, kind), preserving_proto_field_name=True)
    step = [f"step {told.pop('step')}"] if "step" in told else []
    rest = [f"{name.replace('_', ' ')} {_short(value)}" for name, value in told.items()]
    return "  ".join([*step, kind.replace("_", " "), *rest])


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
