"""Datasets go when nothing refers to them, whoever asks first."""

import asyncio
import os

import psycopg
import pytest
from mlx_hub.registry.v1 import dataset_service_pb2 as pb

from services.chassis.errors import FailedPrecondition, HubError, NotFound
from tests.fixtures.registry import RunningRegistry, failure
from tests.integration.test_registry_uploads import ROWS, kept, messages, upload

JOB = """
INSERT INTO trainer.jobs (model_id, dataset_id, lora_rank, learning_rate, epochs, batch_size, seed,
  lora_scale, lora_dropout, lora_layers, max_seq_length, mask_prompt, validation_fraction,
  checkpoint_every_steps, max_attempts)
  VALUES (%s, %s, 8, 1e-4, 1, 4, 0, 20, 0, 0, 512, true, 0.1, 20, 3)
"""


async def remove(hub: RunningRegistry, dataset_id: int) -> None:
    await hub.datasets.DeleteDataset(pb.DeleteDatasetRequest(dataset_id=dataset_id))


async def refused(hub: RunningRegistry, dataset_id: int) -> HubError:
    return await failure(remove(hub, dataset_id))


def grown_old(hub: RunningRegistry) -> None:
    """Let every file be older than the grace period."""
    for path in (hub.archive / "datasets").iterdir():
        os.utime(path, (0, 0))


async def test_a_deleted_dataset_is_gone_and_its_name_free(hub: RunningRegistry) -> None:
    first = await upload(hub, messages(ROWS, request_id="once"))
    await remove(hub, first.id)
    for error in (
        await failure(hub.datasets.GetDataset(pb.GetDatasetRequest(dataset_id=first.id))),
        await refused(hub, first.id),
    ):
        assert isinstance(error, NotFound)
        assert (error.reason, error.metadata) == (
            "DATASET_NOT_FOUND",
            {"dataset_id": str(first.id)},
        )
    assert not (await hub.datasets.ListDatasets(pb.ListDatasetsRequest())).datasets
    again = await upload(hub, messages(ROWS, request_id="once"))
    assert again.id > first.id, "its request id is forgotten with it"


async def test_its_file_goes_with_the_sweep_unless_shared(hub: RunningRegistry) -> None:
    shared = [await upload(hub, messages(ROWS, name=name)) for name in ("a", "b")]
    alone = await upload(hub, messages(ROWS + ROWS, name="c"))
    await remove(hub, shared[0].id)
    await remove(hub, alone.id)
    await hub.registry.storage.reconciler.run()
    assert len(kept(hub)) == 2, "young files wait for rows that may be on their way"
    grown_old(hub)
    await hub.registry.storage.reconciler.run()
    assert kept(hub) == [f"{shared[1].checksum}.jsonl"]


async def test_a_sweep_spares_bytes_that_come_again(hub: RunningRegistry) -> None:
    first = await upload(hub, messages(ROWS))
    await remove(hub, first.id)
    grown_old(hub)
    again = await upload(hub, messages(ROWS))
    hub.registry.artifacts.sweep(set(), 60)
    path = hub.archive / "datasets" / f"{again.checksum}.jsonl"
    assert path.read_bytes() == ROWS, "an older sweep's list doesn't know the new row"


async def test_what_a_job_or_a_version_refers_to_stays(hub: RunningRegistry) -> None:
    model, dataset_id = await hub.model(), await hub.dataset()
    hub.sql(JOB, model.id, dataset_id)
    error = await refused(hub, dataset_id)
    assert isinstance(error, FailedPrecondition)
    assert (error.reason, error.metadata) == ("DATASET_IN_USE", {"dataset_id": str(dataset_id)})
    hub.sql(
        "UPDATE trainer.jobs SET status = 'cancelled', cancel_requested_at = now(),"
        " finished_at = now(), lease_owner = NULL, lease_expires_at = NULL"
    )
    assert (await refused(hub, dataset_id)).reason == "DATASET_IN_USE", "ended jobs have lineage"
    assert (await hub.datasets.GetDataset(pb.GetDatasetRequest(dataset_id=dataset_id))).rows == 2


@pytest.mark.parametrize("ends", ["commit", "rollback"])
async def test_a_job_that_is_being_queued_decides(hub: RunningRegistry, ends: str) -> None:
    model, dataset_id = await hub.model(), await hub.dataset()
    url = hub.settings.database_url.replace("+psycopg", "")
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(JOB.encode(), (model.id, dataset_id))
        deletion = asyncio.ensure_future(asyncio.wait_for(remove_or_refuse(hub, dataset_id), 20))
        await asyncio.sleep(0.3)
        assert not deletion.done(), "it waits for the job's insert"
        await (connection.commit() if ends == "commit" else connection.rollback())
    assert await deletion == ("DATASET_IN_USE" if ends == "commit" else "")


async def remove_or_refuse(hub: RunningRegistry, dataset_id: int) -> str:
    try:
        await remove(hub, dataset_id)
    except Exception as error:
        return "DATASET_IN_USE" if "refers to" in str(error) else str(error)
    return ""


async def test_a_file_that_was_registered_by_path_is_deleted_from_the_hub_only(
    hub: RunningRegistry,
) -> None:
    dataset_id = await hub.dataset("mine")
    await remove(hub, dataset_id)
    assert [path.name for path in hub.settings.dataset_root.iterdir()] == ["mine.jsonl"]
    assert (await hub.dataset("mine")) > dataset_id
