"""Evaluations through the stub: recorded once, listed, laid out over the versions."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from mlx_hub.registry.v1 import evaluation_pb2
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import quality_service_pb2 as pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb

from services.chassis.errors import AlreadyExists, HubError, NotFound
from services.registry import trend
from services.registry.store import quality as quality_store
from tests.fixtures.publications import published, staged
from tests.fixtures.registry import RunningRegistry, failure

type Evaluated = Awaitable[evaluation_pb2.Evaluation]

ALL, VALID = evaluation_pb2.EVALUATION_SPLIT_ALL, evaluation_pb2.EVALUATION_SPLIT_VALID
FACTS = {"version": "1", "metric": "accuracy", "value": 0.5, "dataset_id": 1, "split": ALL}


class Quality:
    """A model with two versions, and short names for what is measured of them."""

    def __init__(self, hub: RunningRegistry, model_id: int) -> None:
        self.hub, self.stub, self.model_id = hub, hub.quality, model_id

    def record(self, **fields: Any) -> Evaluated:
        body = {"model_id": self.model_id, **FACTS, **fields}
        return self.stub.RecordEvaluation(pb.RecordEvaluationRequest(**body))

    async def values(self, **fields: Any) -> list[float]:
        request = pb.ListEvaluationsRequest(model_id=self.model_id, **fields)
        return [e.value for e in (await self.stub.ListEvaluations(request)).evaluations]

    def trend(self, **fields: Any) -> Any:
        return self.stub.GetQualityTrend(
            pb.GetQualityTrendRequest(model_id=self.model_id, **fields)
        )


@pytest.fixture
async def two(hub: RunningRegistry) -> Quality:
    model, dataset = await hub.model(), await hub.dataset()
    for salt in "ab":
        request = await staged(hub, model.id, dataset, salt)
        request.valid_rows = 0  # brings no evaluation of its own
        await hub.stub.PublishVersion(request)
    return Quality(hub, model.id)


async def test_an_evaluation_says_what_was_measured_on_what(two: Quality) -> None:
    call: Any = two.record(version="latest", how={"tool": "x 1.2", "seed": "3"})
    made = await call
    headers = {str(key): str(value) for key, value in await call.initial_metadata()}
    path = f"/models/{two.model_id}/evaluations/{made.id}"
    assert (headers["x-http-code"], headers["location"]) == ("201", path)
    request = versions_pb.GetModelVersionRequest(model_id=two.model_id, version="2")
    version = await two.hub.stub.GetModelVersion(request)
    assert (made.version, made.subject_digest) == (2, version.checksum)
    assert (made.metric, made.value, made.split) == ("accuracy", 0.5, ALL)
    [(checksum,)] = two.hub.sql("SELECT checksum FROM registry.datasets")
    assert (made.dataset_id, made.dataset_digest) == (1, checksum)
    assert dict(made.how) == {"tool": "x 1.2", "seed": "3"}
    found = pb.GetEvaluationRequest(model_id=two.model_id, evaluation_id=made.id)
    assert await two.stub.GetEvaluation(found) == made


async def test_the_base_model_alone_is_version_0(two: Quality) -> None:
    made = await two.record(version="base", value=-2.5)
    assert (made.version, made.subject_digest, made.value) == (0, two.hub.base_digest, -2.5)
    await two.record(value=1.5)
    assert (await two.values(version="base"), await two.values()) == ([-2.5], [1.5, -2.5])
    request = models_pb.GetModelHistoryRequest(model_id=two.model_id, page_size=2)
    of_version, of_base = (await two.hub.stub.GetModelHistory(request)).events
    assert (of_version.version, of_version.model_version.version) == (1, 1)
    assert (of_base.version, of_base.HasField("model_version")) == (0, False)
    assert dict(of_base.details) == {
        "evaluation_id": str(made.id),
        "metric": "accuracy",
        "value": "-2.5",
        "dataset_id": "1",
        "split": "all",
    }


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("value", [None, float("nan"), float("inf"), float("-inf")]),
        ("split", [0, 9]),
        ("metric", ["", "a b", "x" * 64]),
        ("version", ["", "No"]),
        ("how", [{"a b": "x"}, {"a": "x" * 251}, {str(n): "" for n in range(51)}]),
        ("dataset_id", [0]),
    ],
)
async def test_what_is_missing_or_no_number_is_refused(
    two: Quality, field: str, values: list[object]
) -> None:
    for value in values:
        error = await failure(two.record(**{field: value}))
        assert error.reason == "INVALID_FIELD"
        assert [violation.field.split("[")[0] for violation in error.violations] == [field]
    assert await two.values() == []


async def test_what_is_not_there_is_named(two: Quality) -> None:
    for call, reason in (
        (two.record(version="9"), "VERSION_NOT_FOUND"),
        (two.record(version="champion"), "VERSION_NOT_FOUND"),
        (two.record(dataset_id=9), "DATASET_NOT_FOUND"),
        (two.record(model_id=9), "MODEL_NOT_FOUND"),
        (two.values(version="9"), "VERSION_NOT_FOUND"),
        (two.values(dataset_id=9), "DATASET_NOT_FOUND"),
        (two.trend(dataset_id=9), "DATASET_NOT_FOUND"),
        (
            two.stub.GetEvaluation(pb.GetEvaluationRequest(model_id=1, evaluation_id=9)),
            "EVALUATION_NOT_FOUND",
        ),
    ):
        error = await failure(call)
        assert isinstance(error, NotFound)
        assert error.reason == reason
    other = await two.hub.model("other")
    made = await two.record()
    request = pb.GetEvaluationRequest(model_id=other.id, evaluation_id=made.id)
    assert (await failure(two.stub.GetEvaluation(request))).reason == "EVALUATION_NOT_FOUND"


async def test_a_retry_records_nothing_twice_though_the_alias_has_moved(two: Quality) -> None:
    made = await asyncio.gather(*(two.record(version="latest", request_id="r") for _ in range(6)))
    assert {e.id for e in made} == {made[0].id}
    await published(two.hub, two.model_id, 1, "c")
    assert await two.record(version="latest", request_id="r") == made[0]
    error = await failure(two.record(version="latest", request_id="r", value=0.7))
    assert isinstance(error, AlreadyExists)
    assert (error.reason, error.metadata) == ("REQUEST_ID_REUSED", {"request_id": "r"})


async def test_a_request_id_is_taken_by_one_model_only(two: Quality) -> None:
    other = await two.hub.model("other")
    results = await asyncio.gather(
        *(
            two.record(model_id=model_id, version="base", request_id="r")
            for model_id in (two.model_id, other.id) * 3
        ),
        return_exceptions=True,
    )
    made = {e.model_id for e in results if isinstance(e, evaluation_pb2.Evaluation)}
    assert len(made) == 1
    assert len([r for r in results if isinstance(r, evaluation_pb2.Evaluation)]) == 3


async def test_lists_are_paged_and_narrowed(two: Quality) -> None:
    other = await two.hub.dataset("other", rows=3)
    for n in range(5):
        await two.record(value=n, version=str(n % 2 + 1), metric="ab"[n % 2] * 2)
    await two.record(value=9, dataset_id=other)
    request = pb.ListEvaluationsRequest(model_id=two.model_id, page_size=4)
    first = await two.stub.ListEvaluations(request)
    await two.record(value=10)
    request.page_token = first.next_page_token
    rest = await two.stub.ListEvaluations(request)
    assert [e.value for e in (*first.evaluations, *rest.evaluations)] == [9, 4, 3, 2, 1, 0]
    assert not rest.next_page_token
    assert await two.values(version="2", metric="bb") == [3, 1]
    assert await two.values(dataset_id=other) == [9]
    request.metric = "aa"
    assert (await failure(two.stub.ListEvaluations(request))).reason == "INVALID_PAGE_TOKEN"


async def test_equal_data_under_another_name_is_the_same_data(two: Quality) -> None:
    await two.record(value=1)
    twin = await two.hub.dataset("twin")
    await two.record(value=2, version="2", dataset_id=twin)
    assert await two.values(dataset_id=twin) == [2, 1]
    [series] = (await two.trend()).series
    assert [point.value for point in series.points] == [1, 2]


async def test_a_finished_job_brings_its_own_evaluation(hub: RunningRegistry) -> None:
    model, dataset = await hub.model(), await hub.dataset()
    request = await staged(hub, model.id, dataset)
    request.training.parameters["validation_fraction"] = "0.1"
    for _ in range(2):  # the second publication of a job changes nothing
        version = await hub.stub.PublishVersion(request)
    listed = pb.ListEvaluationsRequest(model_id=model.id)
    [made] = (await hub.quality.ListEvaluations(listed)).evaluations
    assert (made.metric, made.value, made.split) == ("val_loss", 0.75, VALID)
    assert (made.version, made.subject_digest) == (version.version, version.checksum)
    assert dict(made.how) == {
        "by": f"training job {version.job_id}, attempt 1",
        "held_out_rows": "1",
        "seed": "3",
        "validation_fraction": "0.1",
    }
    unvalidated = await staged(hub, model.id, dataset, "b")
    unvalidated.ClearField("metrics")
    await hub.stub.PublishVersion(unvalidated)
    assert len((await hub.quality.ListEvaluations(listed)).evaluations) == 1


async def test_a_trend_shows_the_newest_value_of_each_version(two: Quality) -> None:
    for version, value in (("1", 9.0), ("base", 0.25), ("2", 0.75), ("1", 0.5)):
        await two.record(version=version, value=value)
    await two.record(metric="bleu", value=3)
    found = await two.trend()
    assert [series.metric for series in found.series] == ["accuracy", "bleu"]
    series = found.series[0]
    assert (series.base_value, series.dataset_id, series.split) == (0.25, 1, ALL)
    points = [(p.version, p.value, p.delta_base, list(p.aliases)) for p in series.points]
    assert points == [(1, 0.5, 0.25, []), (2, 0.75, 0.5, ["latest"])]
    assert (series.points[1].delta_previous, series.points[0].HasField("delta_previous")) == (
        0.25,
        False,
    )
    assert not found.series[1].HasField("base_value")
    assert [s.metric for s in (await two.trend(metric="bleu")).series] == ["bleu"]
    assert not found.truncated


async def test_a_trend_is_of_the_newest_versions(
    two: Quality, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("base", "1", "2"):
        await two.record(version=version)
    narrow = await two.trend(versions=1)
    assert ([p.version for p in narrow.series[0].points], narrow.truncated) == ([2], True)
    assert narrow.series[0].base_value == 0.5
    assert trend.MAX_POINTS == 2000
    monkeypatch.setattr(quality_store, "MAX_POINTS", 2)
    capped = await two.trend()
    assert ([p.version for p in capped.series[0].points], capped.truncated) == ([2], True)


async def test_a_deleted_model_has_no_quality(two: Quality) -> None:
    made = await two.record(request_id="r")
    two.hub.sql(
        "UPDATE trainer.jobs SET status = 'cancelled', cancel_requested_at = now(),"
        " finished_at = now(), lease_owner = NULL, lease_expires_at = NULL"
    )
    await two.hub.stub.DeleteModel(models_pb.DeleteModelRequest(model_id=two.model_id, force=True))
    errors: list[HubError] = [
        await failure(call)
        for call in (
            two.record(request_id="r"),
            two.values(),
            two.trend(),
            two.stub.GetEvaluation(pb.GetEvaluationRequest(model_id=1, evaluation_id=made.id)),
            two.stub.GetPromotionGate(pb.GetPromotionGateRequest(model_id=1)),
        )
    ]
    assert {error.reason for error in errors} == {"MODEL_NOT_FOUND"}
