"""Uploads from the client: from disk or an open file, whole on each repeat, honest if broken."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from mlx_hub.cli.main import app
from mlx_hub.client import AlreadyExists, AsyncHub, Hub, Unavailable, Unreachable
from mlx_hub.client.upload import PIECE_BYTES
from mlx_hub.registry.v1.dataset_pb2 import Dataset
from typer.testing import CliRunner

from services.chassis import errors as served
from tests.fixtures.scripted_hub import Frame, ScriptedHub
from tests.integration.test_client_hub import scripted_hub

__all__ = ["scripted_hub"]

CONTENT = os.urandom(3 * PIECE_BYTES + 17)
LATER = served.Unavailable("SHUTTING_DOWN", "soon back")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "d.jsonl"
    path.write_bytes(CONTENT)
    return path


def busy_at_first(hub: ScriptedHub) -> None:
    answers: list[Frame] = [LATER, Dataset(id=7)]
    hub.on["UploadDataset"] = lambda _: answers.pop(0)


@pytest.mark.parametrize("kind", ["path", "text", "file"])
def test_a_repeat_sends_the_same_request_and_all_bytes(
    scripted_hub: ScriptedHub, path: Path, kind: str
) -> None:
    busy_at_first(scripted_hub)
    with Hub(scripted_hub.address) as hub, path.open("rb") as file:
        source: Any = {"path": path, "text": str(path), "file": file}[kind]
        assert hub.datasets.upload("d", source).id == 7
        assert not file.closed
    first, second = scripted_hub.requests
    assert first == second
    assert (first.name, first.body.data) == ("d", CONTENT)
    assert first.request_id


async def test_the_async_twin_does_the_same(scripted_hub: ScriptedHub, path: Path) -> None:
    busy_at_first(scripted_hub)
    async with AsyncHub(scripted_hub.address) as hub:
        assert (await hub.datasets.upload("d", path, request_id="r")).id == 7
    assert [(r.request_id, r.body.data) for r in scripted_hub.requests] == [("r", CONTENT)] * 2


def test_an_open_file_is_sent_from_where_it_stands(scripted_hub: ScriptedHub, path: Path) -> None:
    busy_at_first(scripted_hub)
    with Hub(scripted_hub.address) as hub, path.open("rb") as file:
        file.seek(9)
        hub.datasets.upload("d", file)
    assert {r.body.data for r in scripted_hub.requests} == {CONTENT[9:]}


class Pipe(io.BytesIO):
    """What can be read only once."""

    def seekable(self) -> bool:
        return False


def test_what_can_be_read_only_once_is_sent_only_once(scripted_hub: ScriptedHub) -> None:
    busy_at_first(scripted_hub)
    with Hub(scripted_hub.address) as hub:
        with pytest.raises(Unavailable):
            hub.datasets.upload("d", Pipe(CONTENT))
        assert hub.datasets.upload("d", Pipe(CONTENT)).id == 7
    assert len(scripted_hub.requests) == 2


class Broken(io.BytesIO):
    """A disk that fails in the middle."""

    def read(self, *args: Any) -> bytes:
        if self.tell():
            raise OSError("the disk failed")
        return super().read(*args)


async def test_a_file_that_breaks_off_is_the_callers_own_error(
    scripted_hub: ScriptedHub, path: Path
) -> None:
    scripted_hub.on["UploadDataset"] = lambda _: Dataset(id=7)
    with Hub(scripted_hub.address) as hub:
        with pytest.raises(OSError, match="disk failed"):
            hub.datasets.upload("d", Broken(CONTENT))
        with pytest.raises(FileNotFoundError):
            hub.datasets.upload("d", path.with_name("missing"))
    async with AsyncHub(scripted_hub.address) as hub_async:
        with pytest.raises(OSError, match="disk failed"):
            await hub_async.datasets.upload("d", Broken(CONTENT))
        with pytest.raises(IsADirectoryError):
            await hub_async.datasets.upload("d", path.parent)


def test_a_refusal_arrives_typed_and_nobody_there_is_one_clear_error(
    scripted_hub: ScriptedHub, path: Path
) -> None:
    scripted_hub.on["UploadDataset"] = lambda _: served.AlreadyExists("NAME_TAKEN", "taken")
    with Hub(scripted_hub.address) as hub, pytest.raises(AlreadyExists, match="taken"):
        hub.datasets.upload("d", path)
    with Hub("127.0.0.1:1") as hub, pytest.raises(Unreachable, match="mlx-hub up"):
        hub.datasets.upload("d", path)


def test_the_command_uploads_a_file_and_says_what_is_wrong_with_it(
    scripted_hub: ScriptedHub, path: Path
) -> None:
    answers: list[Frame] = [
        Dataset(id=7, name="d", rows=3),
        served.Invalid(
            "DATASET_ROW_INVALID",
            "line 2: not valid JSON (and 1 more bad lines)",
            violations=(served.Violation("line 2", "not valid JSON"),),
        ),
    ]
    scripted_hub.on["UploadDataset"] = lambda _: answers.pop(0)
    arguments = ["--address", scripted_hub.address, "datasets", "upload", "d", str(path)]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "rows" in result.stdout
    assert scripted_hub.requests[0].body.data == CONTENT
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: line 2: not valid JSON")
