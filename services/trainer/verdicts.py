"""A replay's verdict as the contract's message."""

from mlx_hub.trainer.v1 import replay_pb2 as pb

from services.trainer.replay import Outcome, Verdict

_OUTCOMES = {
    Outcome.SAME: pb.REPLAY_OUTCOME_SAME,
    Outcome.DIFFERS: pb.REPLAY_OUTCOME_DIFFERS,
    Outcome.DIFFERS_AFTER_LAST_LOSS: pb.REPLAY_OUTCOME_DIFFERS_AFTER_LAST_LOSS,
}


def verdict_to_proto(verdict: Verdict) -> pb.ReplayVerdict:
    """Render a verdict."""
    fields = {**vars(verdict), "outcome": _OUTCOMES[verdict.outcome]}
    fields["differences"] = [pb.ReplayDifference(**vars(d)) for d in verdict.differences]
    return pb.ReplayVerdict(**fields)
