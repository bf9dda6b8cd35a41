"""What a training job found out about its version: evaluations and samples, recorded with it."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.chassis.errors import Invalid
from services.registry.lineage import Publication
from services.registry.quality import NewEvaluation, Split, trained


@dataclass(frozen=True)
class Finding:
    """A measured value of the version, or with `base` of the base model."""

    base: bool
    metric: str
    value: float
    split: Split
    how: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What a model wrote; `cut` when it would have gone on."""

    text: str
    tokens: int
    cut: bool


@dataclass(frozen=True)
class Sample:
    """One prompt, as pairs of role and content, and both answers to it."""

    turns: tuple[tuple[str, str], ...]
    base: Answer
    version: Answer


@dataclass(frozen=True)
class Findings:
    """All that a job found out."""

    evaluations: tuple[Finding, ...] = ()
    samples: tuple[Sample, ...] = ()

    def refuse(self) -> None:
        """Raise INVALID_FIELD if there are any: no job of this hub found them."""
        for name, found in vars(self).items():
            if found:
                raise Invalid(
                    "INVALID_FIELD", f"an imported adapter has no {name}; leave it out", field=name
                )


NOTHING = Findings()
_BY = "by"


def evaluations_of(
    publication: Publication, findings: Findings, version: int
) -> list[tuple[bool, NewEvaluation]]:
    """Give the evaluations of a publication, each with whether it is of the base model."""
    own = trained(publication, version)
    found = [(False, own)] if own else []
    for finding in findings.evaluations:
        new = NewEvaluation(
            model_id=publication.model_id,
            version=str(version),
            metric=finding.metric,
            value=finding.value,
            dataset_id=publication.dataset_id,
            split=finding.split,
            how=finding.how,
        )
        found.append((finding.base, new))
    return found


def says_the_same(new: NewEvaluation, value: float, how: Mapping[str, str]) -> bool:
    """Tell whether a measurement only repeats another one, whoever made it."""
    said = [{k: v for k, v in words.items() if k != _BY} for words in (new.how, how)]
    return new.value == value and said[0] == said[1]
