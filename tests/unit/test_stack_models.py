"""What the demo and the import do before any process starts."""

import socket
from importlib import metadata
from pathlib import Path

import pytest
from rich.console import Console

from services.stack import demo, models
from services.stack.errors import StackError
from services.stack.importing import on_disk
from services.stack.settings import PORT_FIELDS, StackSettings
from services.stack.stack import Stack


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackSettings:
    monkeypatch.setenv("MLX_HUB_HOME", str(tmp_path / "home"))
    return StackSettings()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct.q4_1"),
        ("/a/My Model (v2)", "my-model-v2-"),
        ("/a/Qwen2.5-0.5B-Instruct", "qwen2.5-0.5b-instruct"),
        ("/a/__x", "x"),
        ("/a/" + "y" * 200, "y" * 100),
    ],
)
def test_a_name_is_made_of_a_path(path: str, name: str) -> None:
    assert models.name_of(Path(path)) == name


def test_a_bad_name_or_path_is_refused_at_once(settings: StackSettings, tmp_path: Path) -> None:
    with pytest.raises(StackError, match="can't be a model's name"):
        models.import_model(settings, on_disk(tmp_path), "Has Spaces", print)
    with pytest.raises(StackError, match="does not exist"):
        models.import_model(settings, on_disk(tmp_path / "absent"), "fine", print)
    with pytest.raises(StackError, match="can't be a model's name"):
        models.import_from_hub(settings, "org/name", "", "Has Spaces", print)
    for repository in ("name", "a/b/c", "../x", "a/", "https://hub/a/b", "a/b c"):
        with pytest.raises(StackError, match="give ORG/NAME"):
            models.import_from_hub(settings, repository, "", "fine", print)
    assert not settings.home.exists()


def test_a_first_start_without_the_starter_model_tells_the_remedy(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    remedy = r"starter model is not installed.*mlx-hub models import"
    with pytest.raises(StackError, match=remedy):
        Stack(settings.model_copy(update=dict.fromkeys(PORT_FIELDS, 0)), print).run(print)
    assert not (settings.home / "postgres").exists()


def test_examples_are_installed_once_under_their_hash(tmp_path: Path) -> None:
    source = tmp_path / "data.jsonl"
    source.write_text('{"text": "a"}\n')
    root = tmp_path / "datasets"
    first = demo.install_examples([source], root)
    assert demo.install_examples([source], root) == first
    source.write_text('{"text": "b"}\n')
    second = demo.install_examples([source], root)
    assert first != second
    assert {file.name for file in root.iterdir()} == {*first.values(), *second.values()}
    assert (root / first["data.jsonl"]).read_text() == '{"text": "a"}\n'


def test_the_demo_has_its_data() -> None:
    assert demo.DATASET in {file.name for file in demo.example_files()}


def test_the_demo_moves_from_taken_defaults_only(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ui = Console(record=True, width=200)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        taken = settings.model_copy(update={"trainer_port": port})
        taken.model_fields_set.discard("trainer_port")  # as if it were the default
        moved = demo._with_free_ports(taken, ui)
        monkeypatch.setenv("MLX_HUB_TRAINER_PORT", str(port))
        asked = demo._with_free_ports(StackSettings(), ui)
    assert (moved.trainer_port, asked.trainer_port) == (0, port)
    assert f"port {port} (MLX_HUB_TRAINER_PORT) is taken" in ui.export_text()
