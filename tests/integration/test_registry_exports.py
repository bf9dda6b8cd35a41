"""A version taken out through the registry's own door, by the operator's code."""

import asyncio
import gc
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlx_hub.registry.v1 import download_service_pb2 as downloads_pb
from mlx_hub.registry.v1 import download_service_pb2_grpc as downloads_pb_grpc
from mlx_hub.registry.v1 import export_pb2, version_pb2
from mlx_hub.registry.v1 import export_service_pb2 as pb
from mlx_hub.registry.v1 import export_service_pb2_grpc as pb_grpc

from services.chassis.errors import (
    DataLoss,
    Exhausted,
    FailedPrecondition,
    HubError,
    Invalid,
    NotFound,
)
from services.registry.exports import STARTING
from tests.fixtures.exchange import KEYS
from tests.fixtures.publications import imported
from tests.fixtures.registry import RunningRegistry, failure
from tests.fixtures.tiny_adapters import write_adapter

FUSED, PEFT = export_pb2.EXPORT_FORMAT_FUSED, export_pb2.EXPORT_FORMAT_PEFT


class Door:
    """A registry with one version, and the ways to ask for its exports."""

    def __init__(self, hub: RunningRegistry, version: version_pb2.ModelVersion) -> None:
        self.hub = hub
        self.version = version
        self.stub = pb_grpc.ExportServiceStub(hub.channel)
        self.downloads = downloads_pb_grpc.DownloadServiceStub(hub.channel)
        self.folder = hub.settings.storage_active_path / "exports"

    def ask(self, **fields: Any) -> Any:
        given = {"model_id": self.version.model_id, "version": "latest", "format": FUSED, **fields}
        return self.stub.ExportVersion(pb.ExportVersionRequest(**given))

    async def events(self, **fields: Any) -> list[export_pb2.ExportEvent]:
        return [event async for event in self.ask(**fields)]

    async def file(self, export: export_pb2.VersionExport, name: str, **fields: Any) -> bytes:
        given = {"model_id": export.model_id, "version": "1", "export_id": export.id, "name": name}
        request = downloads_pb.GetExportFileRequest(**{**given, **fields})
        return b"".join([body.data async for body in self.downloads.GetExportFile(request)])

    def kept(self) -> list[Path]:
        return list(self.folder.iterdir()) if self.folder.is_dir() else []


@pytest.fixture
async def door(hub: RunningRegistry) -> Door:
    request = imported(hub, (await hub.model()).id)
    staged = hub.settings.storage_active_path / request.staged_path
    shutil.rmtree(staged)
    write_adapter(staged, 1, 4, KEYS)
    del request.files[:]
    for path in staged.iterdir():
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        request.files.add(name=path.name, size_bytes=len(content), sha256=digest)
    return Door(hub, await hub.stub.PublishVersion(request))


def refused(error: HubError, kind: type[HubError], reason: str, field: str = "") -> HubError:
    assert isinstance(error, kind), error
    assert error.reason == reason
    assert error.metadata.get("field", "") == field
    return error


async def test_made_once_for_all_who_ask_kept_and_given_back(door: Door) -> None:
    both = await asyncio.gather(door.events(quantize_bits=8), door.events(quantize_bits=8))
    steps = [event.progress.step for event in both[0][:-1]]
    assert steps[:3] == [STARTING, "checking the stored files", "fusing into 8 bits"]
    assert steps[-1].endswith("logits off by up to " + steps[-1].split()[-1])
    export = both[0][-1].export
    assert [event.export for event in both[1] if event.HasField("export")] == [export]
    assert (export.version, export.format, export.quantize_bits) == (1, FUSED, 8)
    assert export.parity.compared_on == "fixed prompts"
    assert 0 < export.parity.effect_lost <= export.parity.tolerance == 0.25
    assert {file.name for file in export.files} >= {"model.safetensors", "export.json"}
    [again] = await door.events(quantize_bits=8, version="1")
    assert again.export.id == export.id
    assert again.export.expires_at.ToDatetime() > export.expires_at.ToDatetime()
    for file in export.files:
        content = await door.file(export, file.name)
        assert len(content) == file.size_bytes
        assert hashlib.sha256(content).hexdigest() == file.sha256
        assert await door.file(export, file.name, offset=3) == content[3:]
    missing = failure(door.file(export, "nothing"))
    assert refused(await missing, NotFound, "FILE_NOT_FOUND").metadata["file"] == "nothing"
    other = failure(door.file(export, "export.json", export_id="0" * 64))
    refused(await other, NotFound, "EXPORT_NOT_FOUND")
    [place] = door.kept()
    (place / "config.json").chmod(0o644)
    (place / "config.json").write_bytes(b"!" * (place / "config.json").stat().st_size)
    refused(await failure(door.file(export, "config.json")), DataLoss, "ARTIFACT_CORRUPT")
    assert door.kept() == []


async def test_who_leaves_ends_the_work_and_leaves_nothing(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    call = door.ask(format=PEFT)
    assert (await call.read()).progress.step == STARTING
    await until(lambda: len(exporting()) == len(door.kept()) == 1)
    call.cancel()
    await until(lambda: not exporting() and not door.kept())
    assert door.folder.is_dir()
    gc.collect()
    assert "destroyed" not in caplog.text, "a task of its own was left waiting"


async def collect(call: Any, begun: list[export_pb2.ExportEvent]) -> None:
    async for event in call:
        begun.append(event)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 (what it waits for has no event)
            await asyncio.sleep(0.01)


def exporting() -> list[psutil.Process]:
    """List the children of this process that export."""
    found = psutil.Process().children()
    return [child for child in found if "services.runtime.exchange.export" in words(child)]


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


async def test_what_is_refused_with_its_field_and_numbers(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("format", {"format": 0}),
        ("quantize_bits", {"quantize_bits": 3}),
        ("quantize_bits", {"format": PEFT, "quantize_bits": 4}),
        ("tolerance", {"format": PEFT, "tolerance": 0.5}),
        ("tolerance", {"tolerance": -1}),
        ("version", {"version": "base"}),
    ]
    for field, fields in wrong:
        refused(await failure(door.events(**fields)), Invalid, "INVALID_FIELD", field)
    refused(await failure(door.events(version="9")), NotFound, "VERSION_NOT_FOUND")
    call = door.ask(quantize_bits=4, tolerance=1e-6)
    begun: list[export_pb2.ExportEvent] = []
    error = await failure(collect(call, begun))
    refused(error, FailedPrecondition, "EXPORT_REFUSED", "quantize_bits")
    assert error.metadata["tolerance"] == "1e-06"
    assert begun[-1].error.message == error.message
    assert "pack into 8 bits" in error.message
    exports = door.hub.registry.exports
    with monkeypatch.context() as patch:
        patch.setattr(exports.shelf, "most_bytes", 5)
        error = refused(await failure(door.events()), FailedPrecondition, "EXPORT_REFUSED")
        assert error.metadata["limit_bytes"] == "5"
    with monkeypatch.context() as patch:
        patch.setattr(exports.ledger, "budget", 1000)
        error = refused(await failure(door.events()), Exhausted, "OUT_OF_MEMORY")
        assert int(error.metadata["needed_bytes"]) > 300 << 20
        assert error.metadata["budget_bytes"] == "1000"
    usage = shutil.disk_usage(door.folder)._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    refused(await failure(door.events()), Exhausted, "DISK_FULL")
    assert door.kept() == []
