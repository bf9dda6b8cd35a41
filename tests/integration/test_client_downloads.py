"""Downloads by the client: whole and proven, after a loss from where it was, or nothing."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.api.httpbody_pb2 import HttpBody
from mlx_hub.cli.main import app
from mlx_hub.client import AsyncHub, DataLoss, FailedPrecondition, Hub, NotFound, Unavailable
from mlx_hub.registry.v1.dataset_pb2 import Dataset
from mlx_hub.registry.v1.download_service_pb2 import VersionFiles
from mlx_hub.registry.v1.export_pb2 import ExportEvent, ExportProgress, VersionExport
from mlx_hub.registry.v1.lineage_pb2 import ArtifactFile
from mlx_hub.registry.v1.model_pb2 import Model
from typer.testing import CliRunner, Result

from services.chassis import errors as served
from services.chassis.status import to_status
from tests.fixtures.scripted_hub import Frame, ScriptedHub
from tests.integration.test_client_hub import scripted_hub

__all__ = ["scripted_hub"]

FILES = {"adapters.safetensors": os.urandom(5000), "manifest.json": b"{}"}
LOST = served.Unavailable("SHUTTING_DOWN", "soon back")
CHANGED = served.DataLoss("ARTIFACT_CORRUPT", "changed")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pieces(content: bytes, size: int = 1000) -> list[Frame]:
    return [HttpBody(data=content[at : at + size]) for at in range(0, len(content), size)]


def rest(request: Any) -> list[Frame]:
    return pieces(FILES[request.name][int(request.offset) :])


def serve(hub: ScriptedHub, files: dict[str, bytes] = FILES) -> None:
    listed = [ArtifactFile(name=n, size_bytes=len(c), sha256=sha256(c)) for n, c in files.items()]
    hub.on["ListVersionFiles"] = lambda r: VersionFiles(
        model_id=r.model_id, version=3, files=listed
    )
    hub.on["GetVersionFile"] = rest


def asked(hub: ScriptedHub) -> list[tuple[str, str, float]]:
    return [(r.version, r.name, r.offset) for r in hub.requests[1:]]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def breaking(after: int, error: Frame) -> Callable[[Any], list[Frame]]:
    """Lose a stream after so many pieces, each time."""
    return lambda request: (
        [*rest(request)[:after], error] if len(rest(request)) > after else rest(request)
    )


def test_a_version_comes_whole_by_the_number_its_alias_had(
    scripted_hub: ScriptedHub, tmp_path: Path
) -> None:
    serve(scripted_hub)
    told: list[tuple[int, int | None]] = []
    folder = tmp_path / "new" / "folder"
    with Hub(scripted_hub.address) as hub:
        found = hub.models.download(
            7, "champion", folder, on_progress=lambda *heard: told.append(heard)
        )
    assert found.version == 3
    assert contents(folder) == FILES
    assert asked(scripted_hub) == [("3", name, 0) for name in FILES]
    assert told[0] == (1000, 5002)
    assert told[-1] == (5002, 5002)
    assert (folder / "manifest.json").stat().st_mode & 0o444 == 0o444


def test_a_lost_stream_goes_on_where_it_was(scripted_hub: ScriptedHub, tmp_path: Path) -> None:
    serve(scripted_hub)
    scripted_hub.on["GetVersionFile"] = breaking(3, LOST)
    with Hub(scripted_hub.address) as hub:
        hub.models.download(7, 3, tmp_path)
    assert contents(tmp_path) == FILES
    assert [offset for _, _, offset in asked(scripted_hub)] == [0, 3000, 0]


def test_a_stream_that_ends_too_early_goes_on(scripted_hub: ScriptedHub, tmp_path: Path) -> None:
    serve(scripted_hub)
    scripted_hub.on["GetVersionFile"] = lambda request: rest(request)[:2]
    with Hub(scripted_hub.address) as hub:
        hub.models.download(7, 3, tmp_path)
    assert [offset for _, _, offset in asked(scripted_hub)] == [0, 2000, 4000, 0]


async def test_the_async_twin_does_the_same(scripted_hub: ScriptedHub, tmp_path: Path) -> None:
    serve(scripted_hub)
    scripted_hub.on["GetVersionFile"] = breaking(3, LOST)
    told: list[int] = []
    async with AsyncHub(scripted_hub.address) as hub:
        await hub.models.download(7, 3, tmp_path, on_progress=lambda n, _: told.append(n))
    assert contents(tmp_path) == FILES
    assert told[-1] == 5002


@pytest.mark.parametrize(
    "answer", [breaking(3, CHANGED), lambda _: pieces(b"x" * 5000), lambda _: pieces(b"x" * 6000)]
)
def test_other_bytes_leave_nothing_but_what_was_there(
    scripted_hub: ScriptedHub, tmp_path: Path, answer: Any
) -> None:
    serve(scripted_hub)
    (tmp_path / "adapters.safetensors").write_bytes(b"mine")
    scripted_hub.on["GetVersionFile"] = answer
    with Hub(scripted_hub.address) as hub, pytest.raises(DataLoss) as caught:
        hub.models.download(7, 3, tmp_path)
    assert caught.value.reason == "ARTIFACT_CORRUPT"
    assert contents(tmp_path) == {"adapters.safetensors": b"mine"}


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/b", "..", ""])
def test_a_name_never_leads_out_of_the_folder(
    scripted_hub: ScriptedHub, tmp_path: Path, name: str
) -> None:
    serve(scripted_hub, {name: b"x"})
    with Hub(scripted_hub.address) as hub, pytest.raises(DataLoss):
        hub.models.download(7, 3, tmp_path / "in")
    assert scripted_hub.rpcs == ["ListVersionFiles"]


def test_a_dataset_replaces_a_file(scripted_hub: ScriptedHub, tmp_path: Path) -> None:
    content = FILES["adapters.safetensors"]
    data = Dataset(id=2, name="d", size_bytes=len(content), checksum=sha256(content))
    scripted_hub.on["GetDataset"] = lambda _: data
    scripted_hub.on["GetDatasetFile"] = lambda request: pieces(content[int(request.offset) :])
    target = tmp_path / "d.jsonl"
    target.write_bytes(b"old")
    with Hub(scripted_hub.address) as hub:
        assert hub.datasets.download(2, target) == data
        assert contents(tmp_path) == {"d.jsonl": content}
        scripted_hub.on["GetDataset"] = lambda _: served.NotFound("DATASET_NOT_FOUND", "none")
        with pytest.raises(NotFound):
            hub.datasets.download(2, tmp_path / "none" / "d.jsonl")
    assert contents(tmp_path) == {"d.jsonl": content}


STEPS = ("starting", "fusing")
EVENTS = [ExportEvent(progress=ExportProgress(step=step)) for step in STEPS]


def exporting(hub: ScriptedHub, *ends: list[Frame]) -> None:
    """Give the export that these frames end with, each time the next of them."""
    left = iter(ends)
    hub.on["ExportVersion"] = lambda _: [*EVENTS, *next(left)]
    hub.on["GetExportFile"] = rest


def made(model_id: int = 7) -> ExportEvent:
    listed = [ArtifactFile(name=n, size_bytes=len(c), sha256=sha256(c)) for n, c in FILES.items()]
    export = VersionExport(id="e" * 64, model_id=model_id, version=3, files=listed)
    return ExportEvent(export=export)


def test_an_export_is_made_and_brought(scripted_hub: ScriptedHub, tmp_path: Path) -> None:
    exporting(scripted_hub, [LOST], [made()])
    scripted_hub.on["GetExportFile"] = breaking(3, LOST)
    steps: list[str] = []
    with Hub(scripted_hub.address) as hub:
        found = hub.models.export(
            7, "champion", tmp_path, quantize_bits=8, tolerance=0, on_step=steps.append
        )
    assert (found.version, contents(tmp_path), tuple(steps)) == (3, FILES, STEPS)
    first, again, *files = scripted_hub.requests
    assert first == again
    assert (first.format, first.quantize_bits, first.tolerance) == (1, 8, 0)
    assert {(r.version, r.export_id) for r in files} == {("3", "e" * 64)}
    assert [r.offset for r in files] == [0, 3000, 0]


async def test_the_async_twin_tells_why_there_is_none(
    scripted_hub: ScriptedHub, tmp_path: Path
) -> None:
    refused = served.FailedPrecondition("EXPORT_REFUSED", "weak", field="quantize_bits")
    exporting(scripted_hub, [ExportEvent(error=to_status(refused))], [], [made()])
    async with AsyncHub(scripted_hub.address) as hub:
        with pytest.raises(FailedPrecondition) as caught:
            await hub.models.export(7, 3, tmp_path / "new", format="peft")
        assert caught.value.metadata["field"] == "quantize_bits"
        with pytest.raises(Unavailable):
            await hub.models.export(7, 3, tmp_path / "new")
        assert not (tmp_path / "new").exists()
        assert (await hub.models.export(7, 3, tmp_path / "new")).id == "e" * 64
    assert contents(tmp_path / "new") == FILES


def run(hub: ScriptedHub, *words: str) -> Result:
    return CliRunner().invoke(app, ["--address", hub.address, *words])


def test_the_command_brings_a_version(scripted_hub: ScriptedHub, tmp_path: Path) -> None:
    serve(scripted_hub)
    scripted_hub.on["GetModel"] = lambda _: Model(id=7, name="m")
    words = ("versions", "download", "7@champion", "--to", str(tmp_path / "new"))
    told = run(scripted_hub, *words)
    assert (told.exit_code, told.stderr) == (0, "")
    first, second = told.stdout.splitlines()
    digest = sha256(FILES["adapters.safetensors"])[:12]
    assert first.split() == [digest, "5", "kB", str(tmp_path / "new" / "adapters.safetensors")]
    assert second.split()[-1] == str(tmp_path / "new" / "manifest.json")
    assert contents(tmp_path / "new") == FILES
    answer = json.loads(run(scripted_hub, *words, "--json").stdout)
    assert [file["name"] for file in answer["files"]] == list(FILES)


def test_the_command_brings_an_export(scripted_hub: ScriptedHub, tmp_path: Path) -> None:
    exporting(scripted_hub, [made()])
    scripted_hub.on["GetModel"] = lambda _: Model(id=7, name="m")
    words = ("versions", "download", "7@champion", "--to", str(tmp_path), "--quantize", "4")
    assert run(scripted_hub, *words).exit_code == 2
    told = run(scripted_hub, *words, "--as", "fused")
    assert (told.exit_code, told.stderr.split()) == (0, list(STEPS))
    assert len(told.stdout.splitlines()) == len(FILES)
    assert contents(tmp_path) == FILES
    asked = next(r for r in scripted_hub.requests if hasattr(r, "quantize_bits"))
    assert (asked.version, asked.format, asked.quantize_bits) == ("champion", 1, 4)


def test_the_command_brings_a_dataset(scripted_hub: ScriptedHub, tmp_path: Path) -> None:
    data = Dataset(id=2, name="d", size_bytes=2, checksum=sha256(b"{}"))
    scripted_hub.on["GetDataset"] = lambda _: data
    scripted_hub.on["GetDatasetFile"] = lambda _: pieces(b"{}")
    words = ("datasets", "download", "2", "--to", str(tmp_path / "d.jsonl"))
    assert run(scripted_hub, *words).stdout.split() == [data.checksum[:12], "2", "B", words[-1]]
    assert json.loads(run(scripted_hub, *words, "--json").stdout)["checksum"] == data.checksum
    assert contents(tmp_path) == {"d.jsonl": b"{}"}
    (tmp_path / "d.jsonl").unlink()
    scripted_hub.on["GetDatasetFile"] = lambda _: pieces(b"[]")
    assert run(scripted_hub, *words).exit_code == 1
    assert contents(tmp_path) == {}
