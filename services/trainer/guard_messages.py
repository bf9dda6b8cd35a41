"""Between the contract's messages and what a job's guards report: paired pure functions."""

from mlx_hub.internal.v1 import worker_pb2
from mlx_hub.trainer.v1 import training_event_pb2 as pb

from services.trainer.reports import (
    CooldownBegan,
    CooldownEnded,
    Guarded,
    RateLowered,
    WeightsKept,
)

_PREFIX = "THERMAL_PRESSURE_"


def pressure_to_proto(word: str | None) -> pb.ThermalPressure.ValueType:
    """Render a pressure; None is unspecified."""
    return pb.ThermalPressure.Value(_PREFIX + (word or "unspecified").upper())


def pressure_from_proto(number: pb.ThermalPressure.ValueType) -> str | None:
    """Read a pressure."""
    return pb.ThermalPressure.Name(number).removeprefix(_PREFIX).lower() if number else None


def put(event: pb.TrainingEvent, report: Guarded) -> None:
    """Render a report into a frame."""
    match report:
        case RateLowered():
            event.learning_rate_lowered.CopyFrom(pb.LearningRateLowered(**vars(report)))
        case WeightsKept():
            event.weights_kept.CopyFrom(pb.WeightsKept(**vars(report)))
        case CooldownBegan():
            event.cooldown_began.CopyFrom(_began(report))
        case CooldownEnded():
            event.cooldown_ended.CopyFrom(pb.CooldownEnded(**vars(report)))


def to_worker_event(report: Guarded) -> worker_pb2.WorkerEvent:
    """Render a report for the supervisor."""
    frame = pb.TrainingEvent()
    put(frame, report)
    match frame.WhichOneof("event"):
        case "cooldown_began":
            cooldown = worker_pb2.WorkerCooldown(began=frame.cooldown_began)
            return worker_pb2.WorkerEvent(cooldown=cooldown)
        case "cooldown_ended":
            cooldown = worker_pb2.WorkerCooldown(ended=frame.cooldown_ended)
            return worker_pb2.WorkerEvent(cooldown=cooldown)
        case "weights_kept":
            return worker_pb2.WorkerEvent(weights_kept=frame.weights_kept)
    return worker_pb2.WorkerEvent(learning_rate_lowered=frame.learning_rate_lowered)


def from_worker_event(event: worker_pb2.WorkerEvent) -> Guarded | None:
    """Read what the guards of a worker report; None is something else."""
    match event.WhichOneof("event"):
        case "learning_rate_lowered":
            lowered = event.learning_rate_lowered
            return RateLowered(lowered.step, lowered.resumed_from_step, lowered.factor)
        case "weights_kept":
            kept = event.weights_kept
            return WeightsKept(kept.step, kept.kept_step, kept.val_loss, kept.stopped_early)
        case "cooldown" if event.cooldown.WhichOneof("phase") == "began":
            began = event.cooldown.began
            celsius = began.celsius if began.HasField("celsius") else None
            return CooldownBegan(began.step, celsius, pressure_from_proto(began.pressure))
        case "cooldown":
            ended = event.cooldown.ended
            return CooldownEnded(ended.step, ended.seconds, ended.still_hot)
    return None


def _began(report: CooldownBegan) -> pb.CooldownBegan:
    pressure = pressure_to_proto(report.pressure)
    return pb.CooldownBegan(step=report.step, celsius=report.celsius, pressure=pressure)
