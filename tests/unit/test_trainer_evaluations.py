"""What a job is to find out, and how that reads in the log, in the registry and in MLflow."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from mlx_hub.registry.v1 import dataset_pb2, evaluation_pb2
from mlx_hub.trainer.v1.training_request_pb2 import CreateTrainingJobRequest

from services.chassis.errors import Invalid
from services.trainer import messages
from services.trainer.domain import JobStatus, TrainingJob
from services.trainer.evaluations import (
    evaluation_from_proto,
    evaluation_to_proto,
    measured,
    published,
)
from services.trainer.events import StoredEvent, decode, encode
from services.trainer.recipe import Recipe
from services.trainer.records import facts_of
from services.trainer.reports import Evaluation

NOW = datetime(2030, 1, 2, 3, 4, 5, 678000, UTC)
CHAT = dataset_pb2.DATASET_SCHEMA_CHAT
BASE = Evaluation("base", "test", 2.5, rows=5, held_out_rows=7, tokens=90)
VERSION = Evaluation("version", "test", 0.5, rows=5, held_out_rows=7, tokens=90)


def recipe(**fields: Any) -> Recipe:
    request = CreateTrainingJobRequest(model_id=1, dataset_id=2, **fields)
    return messages.order_from_proto(request, CHAT).recipe


def job(of: Recipe) -> TrainingJob:
    return TrainingJob(1, JobStatus.RUNNING, 2, 3, of, 3, NOW, attempt=2)


def test_what_is_found_out_by_default_depends_on_what_is_held_out() -> None:
    def chosen(**fields: Any) -> tuple[bool, int]:
        made = recipe(**fields)
        return made.evaluate, made.samples

    assert chosen() == chosen(validation_fraction=0, test_fraction=0.5) == (True, 3)
    assert chosen(validation_fraction=0) == (False, 0)
    assert chosen(evaluate=False, samples=0) == (False, 0)
    assert chosen(samples=8) == (True, 8)
    assert chosen(validation_fraction=0, evaluate=False, samples=0) == (False, 0)
    assert chosen(validation_fraction=0, sample_prompts=["a", "b"]) == (False, 2)
    assert recipe(sample_prompts=["a", "b"]).sample_prompts == ("a", "b")
    assert recipe(sample_tokens=9).sample_tokens == 9


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"validation_fraction": 0, "evaluate": True}, "evaluate"),
        ({"validation_fraction": 0, "samples": 1}, "samples"),
        ({"samples": 2, "sample_prompts": ["a"]}, "samples"),
        ({"samples": 0, "sample_prompts": ["a"]}, "samples"),
    ],
)
def test_what_could_not_be_found_out_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid) as caught:
        recipe(**fields)
    assert caught.value.metadata == {"field": named}


def test_prompts_are_nobody_elses_to_read() -> None:
    shown = messages.parameters(messages.job_to_proto(job(recipe(sample_prompts=["a secret"]))))
    again = messages.parameters(messages.job_to_proto(job(recipe(sample_prompts=["b secret"]))))
    assert shown["sample_prompts"].startswith("sha256:")
    assert shown["sample_prompts"] != again["sample_prompts"]
    assert messages.parameters(messages.job_to_proto(job(recipe())))["sample_prompts"] == ""


@pytest.mark.parametrize("evaluation", [BASE, VERSION])
def test_evaluations_survive_the_wire_and_the_log(evaluation: Evaluation) -> None:
    sent = evaluation_to_proto(evaluation)
    assert evaluation_from_proto(type(sent).FromString(sent.SerializeToString())) == evaluation
    assert sent.perplexity == math.exp(evaluation.loss)
    kind, payload = encode(evaluation)
    assert (kind, decode(kind, payload)) == ("evaluation", evaluation)
    frame = messages.frame(StoredEvent(5, 2, NOW, evaluation))
    assert frame.evaluation == sent


def test_the_log_of_a_job_from_before_shows_that_it_found_out_nothing() -> None:
    kind, payload = encode(job(Recipe()))
    for name in ("evaluate", "samples", "sample_prompts", "sample_tokens"):
        del payload["recipe"][name]
    found = decode(kind, payload)
    assert isinstance(found, TrainingJob)
    assert (found.recipe.evaluate, found.recipe.samples) == (False, 0)


def test_both_are_recorded_with_all_that_makes_them_comparable() -> None:
    told = [evaluation_to_proto(one) for one in (BASE, VERSION)]
    found = list(published(job(recipe(seed=4, test_fraction=0.1, quantize_bits=4)), told))
    assert [(one.base, one.metric, one.value) for one in found] == [
        (True, "loss", 2.5),
        (True, "perplexity", math.exp(2.5)),
        (False, "loss", 0.5),
        (False, "perplexity", math.exp(0.5)),
    ]
    assert {one.split for one in found} == {evaluation_pb2.EVALUATION_SPLIT_TEST}
    assert dict(found[0].how) == {
        "by": "training job 1, attempt 2",
        "rows": "5",
        "held_out_rows": "7",
        "tokens": "90",
        "seed": "4",
        "validation_fraction": "0.1",
        "test_fraction": "0.1",
        "max_seq_length": "512",
        "mask_prompt": "true",
        "base": "quantised to 4 bits, as it was trained on",
    }
    assert found[0].how == found[2].how
    [plain, *_] = published(job(recipe()), told)
    assert plain.how["base"] == "as it is stored"


def test_a_perplexity_beyond_all_numbers_is_left_out() -> None:
    hopeless = Evaluation("base", "valid", 800.0, rows=1, held_out_rows=1, tokens=1)
    sent = evaluation_to_proto(hopeless)
    assert (sent.loss, sent.HasField("perplexity")) == (800, False)
    assert [one.metric for one in published(job(recipe()), [sent])] == ["loss"]
    assert measured(hopeless) == {"base_valid_loss": 800}


def test_mlflow_hears_of_both() -> None:
    events = [StoredEvent(n, 1, NOW, one) for n, one in enumerate((BASE, VERSION), 1)]
    before, after = (dict(fact.measured.metrics) for fact in facts_of(None, events))
    assert before == {"base_test_loss": 2.5, "base_test_perplexity": math.exp(2.5)}
    assert after == {"test_loss": 0.5, "test_perplexity": math.exp(0.5)}
