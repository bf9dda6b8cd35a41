"""A run to its end: back to sound weights where a step was not finite, and the best weights kept.

Training the very step again from the weights at hand would compute the same numbers again: the rate
counts only in updates. So it goes back behind the last update, to weights that a checkpoint of the
recipe's own steps holds. Which one that is depends on the step alone, not on where a run was
interrupted, so the bytes are the same.
"""

from contextlib import suppress
from dataclasses import replace

from mlx_hub.internal.v1 import worker_pb2 as pb

from services.trainer.reports import RateLowered, WeightsKept
from services.trainer.worker.checkpoint import Checkpoints
from services.trainer.worker.cooldown import Cooldown
from services.trainer.worker.failures import TrainingFailed
from services.trainer.worker.guards import Hooks, NotFiniteError, are_finite
from services.trainer.worker.link import Link
from services.trainer.worker.loop import RunState, Trainer


def train(trainer: Trainer, link: Link, checkpoints: Checkpoints, command: pb.TrainCommand) -> None:
    """Train to the end and leave the weights to publish in the model."""
    hooks = Hooks(keep=lambda: checkpoints.keep(trainer))
    if command.HasField("cooldown"):
        hooks = replace(hooks, epoch=Cooldown(command.cooldown, link))
    if trainer.recipe.nonfinite_lr_factor and trainer.state == RunState():
        checkpoints.save(trainer)
    while True:
        try:
            trainer.run(link, lambda: checkpoints.save(trainer), hooks)
            break
        except NotFiniteError as fault:
            if not _lower(trainer, fault, link, checkpoints):
                raise _final(trainer, fault, checkpoints) from fault
    if trainer.recipe.early_stop_patience:
        _publish_best(trainer, link, checkpoints)


def _lower(trainer: Trainer, fault: NotFiniteError, link: Link, checkpoints: Checkpoints) -> bool:
    """Go back and lower the learning rate, if that may be done and was not done before."""
    factor = trainer.recipe.nonfinite_lr_factor
    if not factor or trainer.state.lowered_at or not checkpoints.go_back(trainer, fault.sound):
        return False
    trainer.state = replace(trainer.state, rate_factor=factor, lowered_at=fault.step)
    checkpoints.save(trainer)
    link.report(RateLowered(fault.step, trainer.state.step, factor))
    return True


def _final(trainer: Trainer, fault: NotFiniteError, checkpoints: Checkpoints) -> TrainingFailed:
    """Say how it ended, and where the last weights that are finite lie."""
    words, state = [fault.what], trainer.state
    if state.lowered_at:
        words.append(
            f"the learning rate had been lowered to {state.rate_factor:g} of the recipe's before, "
            f"for step {state.lowered_at}"
        )
    elif trainer.recipe.nonfinite_lr_factor and fault.sound < 0:
        words.append("no update came before it, so a lower learning rate would change nothing")
    words.append(fault.hint)
    if are_finite(trainer.model.trainable_parameters()):
        # What failed is told even where there is no room for the weights.
        with suppress(OSError):
            checkpoints.save(trainer)
    if (name := checkpoints.newest()) is not None:
        words.append(f"the last finite weights are kept in {name} under STORAGE_ACTIVE_PATH")
    return TrainingFailed(fault.reason, "; ".join(words))


def _publish_best(trainer: Trainer, link: Link, checkpoints: Checkpoints) -> None:
    state = trainer.state
    if state.kept_val_loss is None:
        raise RuntimeError("a run with early stopping was never validated")
    checkpoints.load_kept(trainer)
    early = state.step < trainer.total_steps
    link.report(WeightsKept(state.step, state.kept_step, state.kept_val_loss, early))
