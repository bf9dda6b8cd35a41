"""The operator's import from the Hugging Face hub, against a server on a real socket."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from services.stack import importing, models
from services.stack.errors import StackError
from services.stack.settings import StackSettings
from tests.fixtures.hf_model import write_llama
from tests.fixtures.hub_server import COMMIT, HubServer

REPOSITORY = "org/Tiny-1.5"
SECOND = "model-00002-of-00002.safetensors"


@pytest.fixture
def server(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HubServer]:
    """Serve a model among what repositories also hold; children ask no other hub."""
    files = tmp_path / "repository"
    write_llama(files, tiny_model)
    for name in ("modeling.py", "pytorch_model.bin", "consolidated.safetensors", "onnx/model.onnx"):
        (files / name).parent.mkdir(exist_ok=True)
        (files / name).write_bytes(b"never")
    (files / "onnx" / "config.json").write_text("{}")
    with HubServer(files) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def settings(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> StackSettings:
    monkeypatch.setenv("MLX_HUB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATABASE_URL", database_url)
    return StackSettings()


def fetch(settings: StackSettings, repository: str = REPOSITORY, revision: str = "") -> Path:
    return importing.fetch(settings, repository, revision, print).path


def refusal(settings: StackSettings, repository: str = REPOSITORY, revision: str = "") -> str:
    with pytest.raises(StackError) as refused:
        fetch(settings, repository, revision)
    assert "\n" not in str(refused.value)
    assert "Traceback" not in str(refused.value)
    return str(refused.value)


def left(settings: StackSettings) -> list[Path]:
    return [path for path in settings.storage_active_path.rglob("*") if path.is_file()]


def test_a_repository_becomes_a_base_model(server: HubServer, settings: StackSettings) -> None:
    said: list[str] = []
    models.import_from_hub(settings, REPOSITORY, "main", "tiny", said.append, 4)
    with psycopg.connect(settings.database_url.replace("+psycopg", "")) as connection:
        columns = "name, source, source_revision, quantization FROM registry.base_models"
        row = connection.execute(f"SELECT {columns}").fetchall()
    assert row == [("tiny", f"huggingface:{REPOSITORY}", COMMIT, "4-bit affine, groups of 64")]
    for step in ("fetching", "validating", "quantising to 4 bits", "checking", "recording tiny"):
        assert any(line.startswith(step) for line in said), said
    assert left(settings) == []
    assert {path for _, path in server.asked if "/api/" in path} == {
        f"/api/models/{REPOSITORY}/revision/main?blobs=true"
    }


def test_only_weights_and_texts_of_one_commit_are_fetched(
    server: HubServer, settings: StackSettings
) -> None:
    source = importing.fetch(settings, REPOSITORY, "", print)
    assert (source.origin, source.revision) == (f"huggingface:{REPOSITORY}", COMMIT)
    names = {path.name for path in source.path.iterdir() if not path.name.startswith(".")}
    wanted = {path.name for path in server.files.iterdir() if path.name[0] != "."}
    assert names == wanted - {
        "modeling.py",
        "pytorch_model.bin",
        "consolidated.safetensors",
        "onnx",
    }
    assert server.fetched() == names
    for name in names:
        assert (source.path / name).read_bytes() == (server.files / name).read_bytes()
    resolved = [path for _, path in server.asked if "/resolve/" in path]
    assert all(path.startswith(f"/{REPOSITORY}/resolve/{COMMIT}/") for path in resolved)


def test_what_was_fetched_whole_is_not_fetched_again(
    server: HubServer, settings: StackSettings
) -> None:
    server.refused.add(SECOND)
    stale = settings.storage_active_path / "downloads" / "org--Tiny-1.5--0ld" / "config.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    assert "The hub answered 500; run the import again later" in refusal(settings)
    assert not stale.exists()
    server.refused.clear()
    server.asked.clear()
    fetch(settings)
    assert server.fetched() == {SECOND}


def test_a_broken_connection_is_taken_up_again(server: HubServer, settings: StackSettings) -> None:
    server.cut[SECOND] = 1000
    folder = fetch(settings)
    assert [method for method, path in server.asked if path.endswith(SECOND)].count("GET") > 1
    assert (folder / SECOND).read_bytes() == (server.files / SECOND).read_bytes()


@pytest.mark.parametrize("name", ["config.json", SECOND])
def test_other_bytes_than_the_hub_lists_are_refused(
    server: HubServer, settings: StackSettings, name: str
) -> None:
    content = (server.files / name).read_bytes()
    server.listed[name] = bytes(len(content))
    assert f"'{name}' arrived damaged" in refusal(settings)
    assert name not in {path.name for path in left(settings)}
    server.listed.clear()
    assert (fetch(settings) / name).read_bytes() == content


def test_a_model_with_code_is_refused_before_its_weights(
    server: HubServer, settings: StackSettings
) -> None:
    config = json.loads((server.files / "config.json").read_text())
    (server.files / "config.json").write_text(json.dumps({**config, "auto_map": {"A": "b.C"}}))
    assert "'config.json' asks to run code (auto_map)" in refusal(settings)
    assert not any(name.endswith(".safetensors") for name in server.fetched())
    assert left(settings) == []


def test_a_repository_of_pickles_is_refused_unfetched(
    server: HubServer, settings: StackSettings
) -> None:
    for path in server.files.glob("model*"):
        if path.suffix == ".safetensors":
            path.unlink()
    assert "no model.safetensors but 'pytorch_model.bin', and pickles are" in refusal(settings)
    shutil.copy(server.files / "config.json", server.files / "model.safetensors")
    (server.files / "tokenizer.json").unlink()
    assert "has no 'tokenizer.json'" in refusal(settings)
    assert server.fetched() == set()


def test_errors_tell_what_to_do(
    server: HubServer, settings: StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "org/none does not exist, or is private; check" in refusal(settings, "org/none")
    assert "org/gated wants its terms accepted" in refusal(settings, "org/gated")
    assert "has no revision 'v9'; name a branch" in refusal(settings, revision="v9")
    assert "Cannot have -- or .." in refusal(settings, "org/a..b")
    monkeypatch.setattr("tests.fixtures.hub_server.COMMIT", "../../x")
    assert "named no commit" in refusal(settings)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "switched off by HF_HUB_OFFLINE; unset it" in refusal(settings)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert "The hub does not answer; check the network" in refusal(settings)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    assert "The hub does not answer; check the network" in refusal(settings)
    assert server.fetched() == set()


def test_what_was_fetched_outlives_a_failed_import(
    server: HubServer, settings: StackSettings
) -> None:
    config = json.loads((server.files / "config.json").read_text())
    (server.files / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(
        StackError, match=r"bert not supported(.|\n)*What was fetched stays in"
    ) as no:
        models.import_from_hub(settings, REPOSITORY, "", "tiny", print)
    assert Path(str(no.value).rpartition("stays in ")[2].rstrip(".")).is_dir()
