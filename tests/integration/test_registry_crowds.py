"""Many at once: one name for fifty callers, and ten thousand models listed while they change."""

import asyncio
from collections import Counter

import grpc
from mlx_hub.registry.v1 import model_messages_pb2, model_pb2
from mlx_hub.registry.v1 import registry_service_pb2 as pb
from mlx_hub.registry.v1 import registry_service_pb2_grpc as pb_grpc

from services.chassis.errors import AlreadyExists
from services.chassis.status import from_rpc_error
from tests.fixtures.registry import RunningRegistry

FILL = """
INSERT INTO registry.models (name, task_type, description, base_model_id)
  SELECT 'm' || n, 'text-generation', '', 1 FROM generate_series(1, 10000) n RETURNING id
"""


async def test_fifty_callers_of_a_name_make_one_model(hub: RunningRegistry) -> None:
    async def create() -> model_pb2.Model | str:
        own = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{hub.port}", own) as channel:
            stub = pb_grpc.RegistryServiceStub(channel)
            try:
                return await stub.CreateModel(pb.CreateModelRequest(name="bot", base_model="tiny"))
            except grpc.aio.AioRpcError as error:
                refusal = from_rpc_error(error, "registry")
                assert isinstance(refusal, AlreadyExists)
                return refusal.reason

    results = await asyncio.gather(*(create() for _ in range(50)))
    [made] = [result for result in results if isinstance(result, model_pb2.Model)]
    assert Counter(map(str, results))["NAME_TAKEN"] == 49
    assert hub.sql("SELECT id, name FROM registry.models") == [(made.id, "bot")]


async def test_pages_of_ten_thousand_skip_and_repeat_nothing(hub: RunningRegistry) -> None:
    ids = [int(str(row[0])) for row in hub.sql(FILL)]
    doomed, reading = ids[::50], asyncio.Event()

    async def delete_and_create() -> tuple[set[int], set[int]]:
        """Take rows away before and behind the reader, and add new ones, until it is done."""
        gone: set[int] = set()
        new: set[int] = set()
        for n, model_id in enumerate([*reversed(doomed[100:]), *doomed[:100]]):
            if reading.is_set():
                break
            await hub.stub.DeleteModel(model_messages_pb2.DeleteModelRequest(model_id=model_id))
            gone.add(model_id)
            new.add((await hub.model(f"new{n}")).id)
        return gone, new

    async def read() -> list[int]:
        seen: list[int] = []
        request = pb.ListModelsRequest(page_size=200)
        while True:
            page = await hub.stub.ListModels(request)
            seen += [model.id for model in page.models]
            request.page_token = page.next_page_token
            if not request.page_token:
                reading.set()
                return seen

    (gone, new), seen = await asyncio.gather(delete_and_create(), read())
    assert gone and new, "somebody else was at work"
    assert seen == sorted(set(seen)), "none twice, and in order"
    assert set(ids) - gone <= set(seen) <= set(ids) | new
