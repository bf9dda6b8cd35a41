"""What a job found out, and samples, on the wire."""

from mlx_hub.registry.v1 import publication_pb2 as publication_pb
from mlx_hub.registry.v1 import version_sample_pb2 as pb

from services.registry.findings import Answer, Finding, Findings, Sample
from services.registry.messages.quality import SPLITS


def findings(request: publication_pb.PublishVersionRequest) -> Findings:
    """Read what is to be recorded with a version."""
    evaluations = tuple(
        Finding(found.base, found.metric, found.value, SPLITS[found.split], dict(found.how))
        for found in request.evaluations
    )
    return Findings(evaluations, tuple(from_sample(sample) for sample in request.samples))


def from_sample(sample: pb.VersionSample) -> Sample:
    """Read a sample."""
    turns = tuple((turn.role, turn.content) for turn in sample.turns)
    return Sample(turns, _from_answer(sample.base), _from_answer(sample.version))


def to_sample(sample: Sample) -> pb.VersionSample:
    """Write a sample."""
    return pb.VersionSample(
        turns=[pb.SampleTurn(role=role, content=content) for role, content in sample.turns],
        base=_to_answer(sample.base),
        version=_to_answer(sample.version),
    )


def _from_answer(answer: pb.SampleAnswer) -> Answer:
    return Answer(answer.text, answer.tokens, answer.cut)


def _to_answer(answer: Answer) -> pb.SampleAnswer:
    return pb.SampleAnswer(text=answer.text, tokens=answer.tokens, cut=answer.cut)
