"""Training facts on the wire."""

from datetime import UTC

from mlx_hub.registry.v1 import training_record_pb2 as pb

from services.registry.messages.versions import FROM_OUTCOME
from services.registry.training import (
    Ended,
    Fact,
    Happening,
    Measured,
    Record,
    Started,
)


def record_from_proto(request: pb.RecordTrainingFactsRequest) -> Record:
    """Read what happened to a job."""
    facts = tuple(
        Fact(
            fact.sequence,
            fact.attempt,
            fact.occurred_at.ToDatetime(tzinfo=UTC),
            _happening(fact),
        )
        for fact in request.facts
    )
    return Record(request.job_id, request.model_id, facts)


def _happening(fact: pb.TrainingFact) -> Happening:
    match fact.WhichOneof("fact"):
        case "started":
            return Started(fact.started.dataset_id, dict(fact.started.parameters))
        case "measured":
            return Measured(fact.measured.step, dict(fact.measured.metrics))
        case _:
            return Ended(FROM_OUTCOME[fact.ended.outcome], fact.ended.reason)
