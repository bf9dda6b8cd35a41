"""What is stored comes back byte for byte, or not to its end."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterable
from pathlib import Path

import pytest
from google.api.httpbody_pb2 import HttpBody
from mlx_hub.registry.v1 import dataset_service_pb2 as datasets_pb
from mlx_hub.registry.v1 import download_service_pb2 as pb
from mlx_hub.registry.v1 import download_service_pb2_grpc as pb_grpc
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from mlx_hub.registry.v1 import version_pb2

from services.chassis.errors import (
    DataLoss,
    Exhausted,
    FailedPrecondition,
    HubError,
    Invalid,
    NotFound,
)
from services.registry.downloads import AT_ONCE, PIECE_BYTES
from tests.fixtures.publications import published
from tests.fixtures.registry import RunningRegistry, failure

WEIGHTS = "adapters.safetensors"
ROWS = 6000


async def received(bodies: AsyncIterable[HttpBody]) -> bytes:
    found = [body async for body in bodies]
    assert {body.content_type for body in found} == {"application/octet-stream"}
    assert all(len(body.data) <= PIECE_BYTES for body in found)
    return b"".join(body.data for body in found)


class Files:
    """A registry with one version, and the ways to ask for its files."""

    def __init__(self, hub: RunningRegistry, version: version_pb2.ModelVersion) -> None:
        self.version = version
        self.stub = pb_grpc.DownloadServiceStub(hub.channel)
        self.folder = hub.archive / version.artifact_path

    async def listed(self) -> pb.VersionFiles:
        request = pb.ListVersionFilesRequest(model_id=self.version.model_id, version="latest")
        return await self.stub.ListVersionFiles(request)

    async def get(self, name: str = WEIGHTS, offset: float = 0, version: str = "1") -> bytes:
        request = pb.GetVersionFileRequest(
            model_id=self.version.model_id, version=version, name=name, offset=offset
        )
        return await received(self.stub.GetVersionFile(request))

    async def dataset(self, dataset_id: int, offset: float = 0) -> bytes:
        request = pb.GetDatasetFileRequest(dataset_id=dataset_id, offset=offset)
        return await received(self.stub.GetDatasetFile(request))


@pytest.fixture
async def files(hub: RunningRegistry) -> Files:
    model = await hub.model()
    return Files(hub, await published(hub, model.id, await hub.dataset()))


def refused(error: HubError, kind: type[HubError], reason: str) -> HubError:
    assert isinstance(error, kind)
    assert error.reason == reason
    return error


async def test_every_listed_file_comes_back_as_it_is_recorded(files: Files) -> None:
    listed = await files.listed()
    assert (listed.version, listed.status) == (1, version_pb2.VERSION_STATUS_READY)
    names = [file.name for file in listed.files]
    assert names == [
        "adapters.safetensors",
        "adapter_config.json",
        "manifest.json",
        "statement.json",
    ]
    for file in listed.files:
        content = await files.get(file.name)
        assert len(content) == file.size_bytes
        assert hashlib.sha256(content).hexdigest() == file.sha256
        assert content == (files.folder / file.name).read_bytes()


async def test_the_rest_of_a_file_is_what_comes_after_the_offset(files: Files) -> None:
    whole = await files.get()
    for offset in (1, len(whole) - 1, len(whole)):
        assert await files.get(offset=offset) == whole[offset:]


@pytest.mark.parametrize("offset", [0.5, 8, 2.0**53])
async def test_an_offset_within_the_file(files: Files, offset: float) -> None:
    error = refused(await failure(files.get(offset=offset)), Invalid, "INVALID_FIELD")
    assert error.metadata["field"] == "offset"


async def test_nothing_else_in_the_folder_has_a_name(files: Files) -> None:
    files.folder.chmod(0o755)
    (files.folder / "more.txt").write_text("beside")
    for name in ("more.txt", "nothing"):
        error = refused(await failure(files.get(name)), NotFound, "FILE_NOT_FOUND")
        assert error.metadata["file"] == name
    for name in ("../1/manifest.json", "/etc/passwd", ".", ".."):
        refused(await failure(files.get(name)), Invalid, "INVALID_FIELD")
    refused(await failure(files.get(version="7")), NotFound, "VERSION_NOT_FOUND")


async def test_an_archived_version_is_restored_first(hub: RunningRegistry, files: Files) -> None:
    request = versions_pb.ArchiveVersionRequest(model_id=files.version.model_id, version="1")
    await hub.stub.ArchiveVersion(request)
    assert (await files.listed()).status == version_pb2.VERSION_STATUS_ARCHIVED
    error = refused(await failure(files.get()), FailedPrecondition, "VERSION_NOT_READY")
    assert "restore" in error.message


def spoil(path: Path, at: int) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"!")


async def test_bytes_that_are_not_the_recorded_ones(files: Files) -> None:
    spoil(files.folder / WEIGHTS, 2)
    refused(await failure(files.get()), DataLoss, "ARTIFACT_CORRUPT")
    refused(await failure(files.get(offset=5)), DataLoss, "ARTIFACT_CORRUPT")
    (files.folder / WEIGHTS).unlink()
    refused(await failure(files.get()), DataLoss, "ARTIFACT_CORRUPT")
    (files.folder / WEIGHTS).symlink_to("manifest.json")
    refused(await failure(files.get()), DataLoss, "ARTIFACT_CORRUPT")


async def test_a_dataset(hub: RunningRegistry, files: Files) -> None:
    dataset_id = await hub.dataset("large", rows=ROWS)
    content = (hub.settings.dataset_root / "large.jsonl").read_bytes()
    assert len(content) > 2 * PIECE_BYTES
    assert await files.dataset(dataset_id) == content
    for offset in (1, PIECE_BYTES, PIECE_BYTES + 1, len(content)):
        assert await files.dataset(dataset_id, offset) == content[offset:]
    refused(await failure(files.dataset(999)), NotFound, "DATASET_NOT_FOUND")


async def test_a_damaged_file_never_comes_to_its_end(hub: RunningRegistry, files: Files) -> None:
    dataset_id = await hub.dataset("large", rows=ROWS)
    dataset = await hub.datasets.GetDataset(datasets_pb.GetDatasetRequest(dataset_id=dataset_id))
    spoil(hub.archive / "datasets" / f"{dataset.checksum}.jsonl", 3)
    came = 0
    with pytest.raises(Exception, match="changed") as caught:
        request = pb.GetDatasetFileRequest(dataset_id=dataset_id)
        async for body in files.stub.GetDatasetFile(request):
            came += len(body.data)
    assert 0 < came < dataset.size_bytes
    assert "DATA_LOSS" in str(caught.value)


async def test_so_many_at_once_and_who_leaves_makes_room(
    hub: RunningRegistry, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = pb.GetDatasetFileRequest(dataset_id=await hub.dataset("endless"))
    with monkeypatch.context() as patched:
        patched.setattr(hub.registry.downloads, "_read", lambda *_: itertools.repeat(b"x" * 1000))
        running = [files.stub.GetDatasetFile(request) for _ in range(AT_ONCE)]
        for call in running:
            await call.read()
    error = refused(await failure(files.get()), Exhausted, "QUEUE_FULL")
    assert error.metadata["queue_limit"] == str(AT_ONCE)
    for call in running:
        call.cancel()
    async with asyncio.timeout(60):
        while hub.registry.downloads.running:  # noqa: ASYNC110 (what it waits for has no event)
            await asyncio.sleep(0.05)
    assert await files.get()
