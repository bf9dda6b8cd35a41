"""Facts of training: taken once, kept until they are delivered, or not kept at all."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from mlx_hub.registry.v1 import lineage_pb2, model_messages_pb2
from mlx_hub.registry.v1 import training_record_pb2 as pb
from mlx_hub.registry.v1 import training_record_service_pb2_grpc as pb_grpc
from sqlalchemy.ext.asyncio import AsyncEngine

from services.registry.lineage import AttemptOutcome
from services.registry.store.models import ModelStore
from services.registry.store.outbox import Outbox
from services.registry.store.session import sessions
from services.registry.store.training import TrainingRecords
from services.registry.training import Ended, Fact, Measured, Record, Started
from tests.fixtures.registry import RunningRegistry, failure

LEASE = timedelta(seconds=60)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = (
    Fact(2, 1, NOW, Started(1, {"epochs": "1"})),
    Fact(3, 1, NOW, Measured(1, {"loss": 2.0})),
    Fact(5, 1, NOW, Ended(AttemptOutcome.LOST, "")),
)
HELD = "SELECT sequence FROM registry.training_facts ORDER BY sequence"


def record(model_id: int, *facts: Fact) -> Record:
    return Record(7, model_id, facts)


@pytest.fixture
def engine(hub: RunningRegistry) -> AsyncEngine:
    return hub.registry.engine


@pytest.fixture
def records(engine: AsyncEngine) -> TrainingRecords:
    return TrainingRecords(sessions(engine), mirrored=True)


@pytest.fixture
async def stub(hub: RunningRegistry) -> AsyncIterator[pb_grpc.TrainingRecordServiceStub]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.port}") as channel:
        yield pb_grpc.TrainingRecordServiceStub(channel)


@pytest.fixture
def outbox(engine: AsyncEngine) -> Outbox:
    rows = sessions(engine)
    return Outbox(rows, ModelStore(rows, mirrored=True))


async def test_a_fact_is_taken_once_and_gone_when_delivered(
    hub: RunningRegistry, records: TrainingRecords, outbox: Outbox
) -> None:
    model = await hub.model()
    dataset = await hub.dataset()
    hub.sql("UPDATE registry.outbox SET delivered_at = now()")
    assert await records.record(record(model.id, *FACTS[:2])) == 3
    assert await records.record(record(model.id, *FACTS[1:])) == 5
    assert await records.record(record(model.id, *FACTS[:1])) == 5
    assert hub.sql(HELD) == [(2,), (3,), (5,)]
    delivery = await outbox.claim(LEASE)
    assert delivery is not None
    assert delivery.job is not None
    assert delivery.job.facts == FACTS
    name, digest = delivery.job.datasets[dataset]
    assert (name, len(digest)) == ("data", 64)
    # What comes in while a delivery is under way is not confirmed with it.
    await records.record(record(model.id, Fact(6, 2, NOW, Started(1, {}))))
    await outbox.confirm(delivery, "7")
    assert hub.sql(HELD) == [(6,)]
    again = await outbox.claim(LEASE)
    assert again is not None
    await outbox.confirm(again, "7")
    assert await outbox.claim(LEASE) is None
    assert await records.record(record(model.id, *FACTS)) == 6
    assert hub.sql(HELD) == []


async def test_only_the_first_of_many_facts_are_claimed_at_once(
    hub: RunningRegistry, records: TrainingRecords, outbox: Outbox
) -> None:
    model = await hub.model()
    hub.sql("UPDATE registry.outbox SET delivered_at = now()")
    many = [Fact(n, 1, NOW, Measured(n, {"loss": 2.0})) for n in range(1, 1201)]
    await records.record(record(model.id, *many[:1000]))
    await records.record(record(model.id, *many[1000:]))
    claims = []
    while delivery := await outbox.claim(LEASE):
        assert delivery.job is not None
        claims.append(len(delivery.job.facts))
        await outbox.confirm(delivery, "7")
    assert claims == [1000, 200]


async def test_without_an_mlflow_nothing_is_kept(
    hub: RunningRegistry, stub: pb_grpc.TrainingRecordServiceStub
) -> None:
    model = await hub.model()
    request = pb.RecordTrainingFactsRequest(job_id=7, model_id=model.id)
    fact = request.facts.add(sequence=4, attempt=1)
    fact.occurred_at.GetCurrentTime()
    fact.ended.outcome = lineage_pb2.ATTEMPT_OUTCOME_FINISHED
    answer = await stub.RecordTrainingFacts(request)
    assert answer.last_sequence == 4
    assert hub.sql("SELECT count(*) FROM registry.outbox WHERE job_id IS NOT NULL") == [(0,)]
    assert hub.sql(HELD) == []


async def test_a_deleted_model_has_no_more_to_tell(
    hub: RunningRegistry, records: TrainingRecords
) -> None:
    model = await hub.model()
    await hub.stub.DeleteModel(model_messages_pb2.DeleteModelRequest(model_id=model.id))
    assert await records.record(record(model.id, *FACTS)) == 5
    assert hub.sql(HELD) == []


async def test_wrong_facts_are_refused(stub: pb_grpc.TrainingRecordServiceStub) -> None:
    request = pb.RecordTrainingFactsRequest(job_id=7, model_id=1)
    fact = request.facts.add(sequence=4, attempt=1)
    fact.occurred_at.GetCurrentTime()
    fact.measured.metrics["loss"] = float("nan")
    assert (await failure(stub.RecordTrainingFacts(request))).metadata[
        "field"
    ] == "facts.measured.metrics"
    fact.measured.metrics["loss"] = 1.0
    request.facts.append(fact)
    assert (await failure(stub.RecordTrainingFacts(request))).metadata["field"] == "facts"
    del request.facts[:]
    request.facts.add(sequence=1, attempt=1).ended.reason = "X"
    assert (await failure(stub.RecordTrainingFacts(request))).reason == "INVALID_FIELD"
