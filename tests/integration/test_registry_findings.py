"""What a job found out: recorded with its version in one transaction, compared by the gate."""

from typing import Any

import pytest
from mlx_hub.registry.v1 import evaluation_pb2, promotion_gate_pb2, publication_pb2
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import quality_service_pb2 as pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from mlx_hub.registry.v1 import version_sample_pb2 as sample_pb

from services.chassis.errors import FailedPrecondition, NotFound
from services.registry.store import findings as store
from services.registry.store import versions as versions_store
from tests.fixtures.publications import END_JOBS, Staged, staged
from tests.fixtures.registry import RunningRegistry, failure

TEST = evaluation_pb2.EVALUATION_SPLIT_TEST
LOWER = promotion_gate_pb2.METRIC_DIRECTION_LOWER_IS_BETTER
SAMPLES = [
    sample_pb.VersionSample(
        turns=[
            sample_pb.SampleTurn(role="system", content="Be brief."),
            sample_pb.SampleTurn(role="user", content=f"{number}?"),
        ],
        base=sample_pb.SampleAnswer(text="well …", tokens=8, cut=True),
        version=sample_pb.SampleAnswer(text="", tokens=0),
    )
    for number in range(2)
]


class Trained:
    """A model whose jobs bring findings along."""

    def __init__(self, hub: RunningRegistry, model_id: int, dataset_id: int) -> None:
        self.hub, self.model_id, self.dataset_id = hub, model_id, dataset_id

    async def request(self, salt: str, loss: float, base: float = 2.0, rows: int = 5) -> Staged:
        """Stage a version with its loss beside the base model's."""
        request = await staged(self.hub, self.model_id, self.dataset_id, salt)
        request.valid_rows = 0  # no val_loss of its own
        for of_base, value in ((True, base), (False, loss)):
            how = {"by": f"training job {request.training.job_id}, attempt 1", "rows": str(rows)}
            request.evaluations.add(base=of_base, metric="loss", value=value, split=TEST, how=how)
        request.samples.extend(SAMPLES)
        return request

    async def publish(self, salt: str, loss: float, base: float = 2.0, rows: int = 5) -> None:
        await self.hub.stub.PublishVersion(await self.request(salt, loss, base, rows))

    async def values(self, version: str) -> list[float]:
        request = pb.ListEvaluationsRequest(model_id=self.model_id, version=version)
        return [e.value for e in (await self.hub.quality.ListEvaluations(request)).evaluations]

    async def samples(self, version: str) -> sample_pb.ListVersionSamplesResponse:
        request = sample_pb.ListVersionSamplesRequest(model_id=self.model_id, version=version)
        return await self.hub.quality.ListVersionSamples(request)

    async def promote(self, version: int) -> None:
        request = versions_pb.PromoteVersionRequest(model_id=self.model_id, version=str(version))
        await self.hub.stub.PromoteVersion(request)


@pytest.fixture
async def trained(hub: RunningRegistry) -> Trained:
    return Trained(hub, (await hub.model()).id, await hub.dataset())


async def test_a_version_comes_with_its_findings(trained: Trained) -> None:
    request = await trained.request("a", 0.5)
    version = await trained.hub.stub.PublishVersion(request)
    listed = await trained.hub.quality.ListEvaluations(
        pb.ListEvaluationsRequest(model_id=trained.model_id)
    )
    own, base = listed.evaluations
    assert (own.version, own.value, own.subject_digest) == (1, 0.5, version.checksum)
    assert (base.version, base.value, base.subject_digest) == (0, 2.0, trained.hub.base_digest)
    assert (own.metric, own.split, own.dataset_id) == ("loss", TEST, trained.dataset_id)
    assert dict(own.how) == dict(request.evaluations[1].how)
    samples = await trained.samples("latest")
    assert (samples.model_id, samples.version) == (trained.model_id, 1)
    assert list(samples.samples) == SAMPLES
    assert (await failure(trained.samples("2"))).reason == "VERSION_NOT_FOUND"


async def test_the_same_job_again_changes_nothing(trained: Trained) -> None:
    request = await trained.request("a", 0.5)
    first = await trained.hub.stub.PublishVersion(request)
    for evaluation in request.evaluations:
        evaluation.value += 1
    del request.samples[:]
    assert await trained.hub.stub.PublishVersion(request) == first
    assert (await trained.values("1"), await trained.values("base")) == ([0.5], [2.0])
    assert len((await trained.samples("1")).samples) == 2


@pytest.mark.parametrize("crashed", ["add_evaluation", "samples"])
async def test_a_crash_leaves_neither_version_nor_findings(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, crashed: str
) -> None:
    async def crash(*_: object) -> None:
        raise RuntimeError("before COMMIT")

    request = await trained.request("a", 0.5)
    with monkeypatch.context() as patch:
        if crashed == "samples":
            # The last statement of the transaction, behind all that is written.
            patch.setattr(versions_store, "one_version", crash)
        else:
            patch.setattr(store, crashed, crash)
        assert (await failure(trained.hub.stub.PublishVersion(request))).reason == "INTERNAL"
    for count in (
        "SELECT count(*) FROM registry.versions",
        "SELECT count(*) FROM registry.evaluations",
        "SELECT count(*) FROM registry.version_samples",
    ):
        assert trained.hub.sql(count) == [(0,)], count
    await trained.hub.stub.PublishVersion(request)
    assert (await trained.values("latest"), len((await trained.samples("1")).samples)) == ([0.5], 2)


async def test_the_base_is_recorded_again_only_when_it_says_something_new(
    trained: Trained,
) -> None:
    await trained.publish("a", 0.5)
    await trained.publish("b", 0.4)
    assert await trained.values("base") == [2.0]
    await trained.publish("c", 0.4, rows=6)
    assert await trained.values("base") == [2.0, 2.0], "of other rows"
    await trained.publish("d", 0.4, base=1.5)
    await trained.publish("e", 0.4, base=2.0)
    assert await trained.values("base") == [2.0, 1.5, 2.0, 2.0], "the newest is the newest job's"


async def test_a_gate_has_what_it_asks_for_at_once(trained: Trained) -> None:
    rule: dict[str, Any] = {"metric": "loss", "direction": LOWER, "split": TEST}
    rule |= {"model_id": trained.model_id, "dataset_id": trained.dataset_id}
    await trained.hub.quality.SetPromotionGate(pb.SetPromotionGateRequest(**rule))
    await trained.publish("a", 2.5)
    error = await failure(trained.promote(1))
    assert isinstance(error, FailedPrecondition)
    assert "version 1 is worse than the base model by 0.5" in error.message
    await trained.publish("b", 0.5)
    await trained.promote(2)
    await trained.publish("c", 0.75)
    assert "worse than version 2 by 0.25" in (await failure(trained.promote(3))).message
    trend = await trained.hub.quality.GetQualityTrend(
        pb.GetQualityTrendRequest(model_id=trained.model_id)
    )
    [series] = trend.series
    assert (series.base_value, [point.value for point in series.points]) == (2.0, [2.5, 0.5, 0.75])


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("evaluations", {"metric": "loss", "value": float("nan"), "split": TEST}),
        ("evaluations", {"metric": "no name", "value": 1, "split": TEST}),
        ("evaluations", {"metric": "loss", "value": 1}),
        ("samples", {"turns": [{"role": "user", "content": "x" * 9000}]}),
        ("samples", {}),
    ],
)
async def test_findings_that_mean_nothing_are_refused(
    trained: Trained, field: str, change: dict[str, Any]
) -> None:
    request = await trained.request("a", 0.5)
    more: dict[str, Any] = {field: [change]}
    request.MergeFrom(publication_pb2.PublishVersionRequest(**more))
    error = await failure(trained.hub.stub.PublishVersion(request))
    assert error.reason == "INVALID_FIELD"
    assert error.metadata["field"].startswith(field)


async def test_samples_go_with_their_model_and_lineage_never_shows_them(trained: Trained) -> None:
    await trained.publish("a", 0.5)
    [(lineage,)] = trained.hub.sql("SELECT lineage::text FROM registry.versions")
    assert "Be brief" not in str(lineage)
    delete = models_pb.DeleteModelRequest(model_id=trained.model_id)
    assert (await failure(trained.hub.stub.DeleteModel(delete))).reason == "MODEL_HAS_VERSIONS"
    assert len((await trained.samples("1")).samples) == 2
    trained.hub.sql(END_JOBS)
    delete.force = True
    await trained.hub.stub.DeleteModel(delete)
    assert trained.hub.sql("SELECT count(*) FROM registry.version_samples") == [(0,)]
    assert isinstance(await failure(trained.samples("1")), NotFound)
