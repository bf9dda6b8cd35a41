"""What a job's event says in one line, also one that is newer than this program."""

from collections.abc import Callable

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from mlx_hub.cli.curve import status_name
from mlx_hub.cli.output import size
from mlx_hub.registry.v1.evaluation_pb2 import EvaluationSplit
from mlx_hub.trainer.v1.training_event_pb2 import (
    CooldownBegan,
    CooldownEnded,
    EvaluatedWeights,
    EvaluationResult,
    LearningRateLowered,
    ThermalPressure,
    TrainingEvent,
    WeightsKept,
)
from mlx_hub.trainer.v1.training_memory_pb2 import MemoryWait


def note(event: TrainingEvent) -> str:
    """The event as a line: its step, what it is, and what else it says."""
    kind = event.WhichOneof("event")
    if kind is None:
        return f"event {event.sequence} is of a kind that this program does not know"
    told = getattr(event, kind)
    return _WORDS[kind](told) if kind in _WORDS else _fields(kind, told)


def _fields(kind: str, message: Message) -> str:
    told = MessageToDict(message, preserving_proto_field_name=True)
    step = [f"step {told.pop('step')}"] if "step" in told else []
    rest = [f"{name.replace('_', ' ')} {_short(value)}" for name, value in told.items()]
    return "  ".join([*step, kind.replace("_", " "), *rest])


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _lowered(lowered: LearningRateLowered) -> str:
    return (
        f"step {lowered.step} was not finite: back to step {lowered.resumed_from_step}, "
        f"learning rate times {lowered.factor:g}"
    )


def _kept(kept: WeightsKept) -> str:
    early = f"stopped early at step {kept.step}, " if kept.stopped_early else ""
    return f"{early}kept the weights of step {kept.kept_step}, val loss {kept.val_loss:.3f}"


def _cooldown(began: CooldownBegan) -> str:
    if began.HasField("celsius"):
        heat = f"{began.celsius:.0f} °C"
    else:
        name = ThermalPressure.Name(began.pressure).removeprefix("THERMAL_PRESSURE_")
        heat = f"thermal pressure {name.lower()}"
    return f"step {began.step}  paused to cool down, {heat}"


def _cooled(ended: CooldownEnded) -> str:
    why = "still hot" if ended.still_hot else "cool"
    return f"step {ended.step}  paused for {ended.seconds:.0f} s, {why}"


def _wait(wait: MemoryWait) -> str:
    needed, free = size(wait.needed_bytes), size(wait.room.free_bytes)
    return f"waits for memory: needs {needed}, {free} are free"


def _evaluated(result: EvaluationResult) -> str:
    who = EvaluatedWeights.Name(result.which).removeprefix("EVALUATED_WEIGHTS_").lower()
    split = EvaluationSplit.Name(result.split).removeprefix("EVALUATION_SPLIT_").lower()
    parts = [f"{who} on {result.rows} {split} rows", f"loss {result.loss:.3f}"]
    if result.HasField("perplexity"):
        parts.append(f"perplexity {result.perplexity:.4g}")
    return "  ".join(parts)


_WORDS: dict[str, Callable[..., str]] = {
    "job": lambda job: f"job {job.id} is {status_name(job)}",
    "validation": lambda told: f"step {told.step}  val loss {told.val_loss:.3f}",
    "checkpoint": lambda told: f"step {told.step}  checkpoint saved",
    "learning_rate_lowered": _lowered,
    "weights_kept": _kept,
    "cooldown_began": _cooldown,
    "cooldown_ended": _cooled,
    "memory_wait": _wait,
    "forecast": lambda told: f"may use {size(told.total_bytes)} of memory",
    "evaluation": _evaluated,
}
