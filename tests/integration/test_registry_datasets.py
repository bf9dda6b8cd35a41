"""Datasets through the stub: the path guard, the rows, the copy, and a full disk."""

import asyncio
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from mlx_hub.registry.v1 import dataset_pb2
from mlx_hub.registry.v1 import dataset_service_pb2 as pb

from services.chassis.errors import AlreadyExists, Exhausted, HubError, Invalid, NotFound
from services.registry import files
from services.registry.store.session import repeated
from tests.fixtures.registry import RunningRegistry, failure

LINES = {
    dataset_pb2.DATASET_SCHEMA_TEXT: {"text": "Hello."},
    dataset_pb2.DATASET_SCHEMA_COMPLETION: {"prompt": "2+2=", "completion": "4"},
    dataset_pb2.DATASET_SCHEMA_CHAT: {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    },
}


def write(hub: RunningRegistry, name: str, content: str | bytes) -> Path:
    path = hub.settings.dataset_root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


async def refused(hub: RunningRegistry, path: str) -> HubError:
    """Give the error; nothing may be left in the archive."""
    error = await failure(hub.datasets.CreateDataset(pb.CreateDatasetRequest(name="d", path=path)))
    assert list((hub.archive / "datasets").iterdir()) == []
    assert str(hub.settings.dataset_root) not in error.message
    return error


async def test_a_path_with_a_nul_is_no_path(hub: RunningRegistry) -> None:
    error = await refused(hub, "nul\0.jsonl")
    assert isinstance(error, Invalid)
    assert [violation.field for violation in error.violations] == ["path"]


@pytest.mark.parametrize("schema", LINES)
async def test_a_dataset_is_copied_under_its_hash(
    hub: RunningRegistry, schema: dataset_pb2.DatasetSchema.ValueType
) -> None:
    content = (json.dumps(LINES[schema]) + "\n") * 3
    write(hub, "deep/d.jsonl", content)
    call = hub.datasets.CreateDataset(pb.CreateDatasetRequest(name="d", path="deep/d.jsonl"))
    dataset = await call
    headers = {str(key): str(value) for key, value in await call.initial_metadata()}
    assert (headers["x-http-code"], headers["location"]) == ("201", f"/datasets/{dataset.id}")
    assert dataset.checksum == hashlib.sha256(content.encode()).hexdigest()
    assert (dataset.schema, dataset.rows, dataset.size_bytes) == (schema, 3, len(content))
    copy = hub.archive / "datasets" / f"{dataset.checksum}.jsonl"
    assert copy.read_text() == content
    assert await hub.datasets.GetDataset(pb.GetDatasetRequest(dataset_id=dataset.id)) == dataset


async def test_an_unknown_dataset_is_named(hub: RunningRegistry) -> None:
    error = await failure(hub.datasets.GetDataset(pb.GetDatasetRequest(dataset_id=7)))
    assert isinstance(error, NotFound)
    assert (error.reason, error.metadata) == ("DATASET_NOT_FOUND", {"dataset_id": "7"})


@pytest.mark.parametrize(
    "path",
    [
        *("../secret.jsonl", "a/../../secret.jsonl", "/etc/passwd.jsonl", "./d.jsonl"),
        *("a//d.jsonl", "missing.jsonl", "folder.jsonl", "pipe.jsonl", "link.jsonl"),
        *("linked/d.jsonl", "d.json", "x" * 300 + ".jsonl"),
    ],
)
async def test_nothing_outside_the_root_is_read(hub: RunningRegistry, path: str) -> None:
    line = json.dumps(LINES[dataset_pb2.DATASET_SCHEMA_TEXT]) + "\n"
    root = write(hub, "d.json", line).parent
    write(hub, "../secret.jsonl", line)
    (root / "folder.jsonl").mkdir()
    os.mkfifo(root / "pipe.jsonl")
    (root / "link.jsonl").symlink_to("../secret.jsonl")
    (root / "linked").symlink_to("..")
    error = await refused(hub, path)
    assert isinstance(error, Invalid)
    assert (error.reason, error.metadata["path"]) == ("DATASET_FILE_UNREADABLE", path)
    assert [violation.field for violation in error.violations] == ["path"]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ("{", "JSON"),
        ("", "blank"),
        ("[1]", "object"),
        ('{"prompt": "x"}', "needs"),
        ('{"text": ""}', "empty"),
        ('{"prompt": "a", "completion": "b"}', "one shape"),
        (b"\xff", "UTF-8"),
    ],
)
async def test_a_bad_row_is_named_by_its_line(
    hub: RunningRegistry, second: str | bytes, why: str
) -> None:
    line = second.encode() if isinstance(second, str) else second
    write(hub, "d.jsonl", b'{"text": "good"}\n' + line + b"\n")
    error = await refused(hub, "d.jsonl")
    assert isinstance(error, Invalid)
    assert (error.reason, error.metadata["line"]) == ("DATASET_ROW_INVALID", "2")
    assert why in error.message


async def test_an_empty_file_has_no_rows(hub: RunningRegistry) -> None:
    write(hub, "d.jsonl", "")
    assert (await refused(hub, "d.jsonl")).reason == "DATASET_ROW_INVALID"


async def test_names_and_request_ids_are_used_once(hub: RunningRegistry) -> None:
    write(hub, "d.jsonl", '{"text": "x"}\n')
    request = pb.CreateDatasetRequest(name="d", path="d.jsonl", request_id="once")
    made = await asyncio.gather(*(hub.datasets.CreateDataset(request) for _ in range(6)))
    assert {dataset.id for dataset in made} == {made[0].id}
    (hub.settings.dataset_root / "d.jsonl").unlink()
    assert await hub.datasets.CreateDataset(request) == made[0], (
        "a retry does not read the file again"
    )
    same_name = pb.CreateDatasetRequest(name="d", path="d.jsonl")
    error = await failure(hub.datasets.CreateDataset(same_name))
    assert isinstance(error, AlreadyExists)
    assert error.reason == "NAME_TAKEN"
    reused = pb.CreateDatasetRequest(name="e", path="d.jsonl", request_id="once")
    assert (await failure(hub.datasets.CreateDataset(reused))).reason == "REQUEST_ID_REUSED"


async def test_a_retry_that_overtakes_its_first_try_is_no_conflict(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(hub, "d.jsonl", '{"text": "x"}\n')
    request = pb.CreateDatasetRequest(name="d", path="d.jsonl", request_id="once")
    overtaken: list[dataset_pb2.Dataset] = []

    async def slow(*args: Any) -> int | None:
        found = await repeated(*args)
        if not overtaken:
            overtaken.append(dataset_pb2.Dataset())
            overtaken.append(await hub.datasets.CreateDataset(request))
        return found

    monkeypatch.setattr("services.registry.store.datasets.repeated", slow)
    assert await hub.datasets.CreateDataset(request) == overtaken[1]


async def test_concurrent_creates_of_a_name_leave_one(hub: RunningRegistry) -> None:
    write(hub, "d.jsonl", '{"text": "x"}\n')
    request = pb.CreateDatasetRequest(name="d", path="d.jsonl")
    results = await asyncio.gather(
        *(hub.datasets.CreateDataset(request) for _ in range(6)), return_exceptions=True
    )
    assert len([r for r in results if isinstance(r, dataset_pb2.Dataset)]) == 1
    assert len(list((hub.archive / "datasets").iterdir())) == 1


async def test_lists_are_paged_and_narrowed(hub: RunningRegistry) -> None:
    ids = [await hub.dataset(f"d{n}") for n in range(3)] + [await hub.dataset("e")]
    first = await hub.datasets.ListDatasets(pb.ListDatasetsRequest(page_size=3))
    rest = await hub.datasets.ListDatasets(pb.ListDatasetsRequest(page_token=first.next_page_token))
    assert [dataset.id for dataset in (*first.datasets, *rest.datasets)] == ids
    assert not rest.next_page_token
    narrowed = await hub.datasets.ListDatasets(pb.ListDatasetsRequest(name_prefix="d"))
    assert [dataset.id for dataset in narrowed.datasets] == ids[:3]


async def test_a_full_disk_is_said_and_leaves_nothing(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write(hub, "d.jsonl", '{"text": "x"}\n')
    monkeypatch.setattr(files, "sync", full)
    error = await refused(hub, "d.jsonl")
    assert isinstance(error, Exhausted)
    assert error.reason == "DISK_FULL"
    assert int(error.metadata["free_bytes"]) > 0
    assert hub.sql("SELECT count(*) FROM registry.datasets") == [(0,)]
