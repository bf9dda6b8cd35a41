"""The operator's import of a base model."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from services.chassis.errors import AlreadyExists, Invalid
from services.registry.domain import Origin
from services.registry.importer import main, run
from services.registry.settings import RegistrySettings
from services.runtime.folder import FolderError, inspect_model_folder
from tests.fixtures.flips import flipped
from tests.fixtures.registry import RunningRegistry


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> RegistrySettings:
    return RegistrySettings(home=tmp_path / "home", database_url=database_url)


@pytest.fixture
def source(tiny_model: Path, tmp_path: Path) -> Path:
    """Give a model folder that a test may change."""
    return Path(shutil.copytree(tiny_model, tmp_path / "source"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_the_files_lie_under_their_digest(settings: RegistrySettings, source: Path) -> None:
    base = await run(settings, source, "tiny")
    folder = settings.storage_archive_path / base.artifact_path
    assert base.digest == inspect_model_folder(source).digest
    assert base.artifact_path == f"base/{base.digest}"
    assert contents(folder) == contents(source)
    assert base.size_bytes == sum(len(content) for content in contents(source).values())
    assert (base.model_type, base.context_length) == ("llama", 2048)


async def test_again_is_the_same_and_another_name_shares_the_files(
    settings: RegistrySettings, source: Path
) -> None:
    bases = await asyncio.gather(*(run(settings, source, "tiny") for _ in range(4)))
    assert {base.id for base in bases} == {bases[0].id}
    other = await run(settings, source, "other")
    assert (other.id != bases[0].id, other.digest) == (True, bases[0].digest)
    assert len(list((settings.storage_archive_path / "base").iterdir())) == 1


async def test_a_name_keeps_its_files(settings: RegistrySettings, source: Path) -> None:
    await run(settings, source, "tiny")
    (source / "README.md").write_text("changed")
    with pytest.raises(AlreadyExists, match="another base model"):
        await run(settings, source, "tiny")
    assert len(list((settings.storage_archive_path / "base").iterdir())) == 1


async def test_importing_again_repairs(settings: RegistrySettings, source: Path) -> None:
    base = await run(settings, source, "tiny")
    weights = settings.storage_archive_path / base.artifact_path / "model.safetensors"
    whole, seen = (source / "model.safetensors").read_bytes(), weights.stat()
    weights.unlink()
    assert (await run(settings, source, "tiny")).id == base.id
    assert weights.read_bytes() == whole
    weights.chmod(0o644)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(weights, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    await run(settings, source, "tiny")
    assert weights.read_bytes() == whole, "its time is not believed"


async def test_the_row_says_where_it_came_from_at_first(
    settings: RegistrySettings, tiny_model: Path, source: Path
) -> None:
    origin = Origin("huggingface:org/tiny", "0" * 40)
    base = await run(settings, source, "tiny", origin)
    assert (base.origin, base.quantization) == (origin, "")
    assert (await run(settings, source, "tiny")).origin == origin
    config = json.loads((source / "config.json").read_text())
    packed = {**config, "quantization": {"bits": 4, "group_size": 64}}
    (source / "config.json").write_text(json.dumps(packed))
    other = await run(settings, source, "packed")
    assert (other.origin, other.quantization) == (Origin("folder"), "4-bit affine, groups of 64")


async def test_a_folder_in_hugging_face_form_is_not_stored(
    settings: RegistrySettings, source: Path
) -> None:
    weights = load_file(source / "model.safetensors")
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(FolderError, match="mlx-hub models import"):
        await run(settings, source, "tiny")


@pytest.mark.parametrize("name", ["", "Upper", "-x", "a" * 101, "a/b"])
async def test_a_bad_name_is_refused(settings: RegistrySettings, source: Path, name: str) -> None:
    with pytest.raises(Invalid):
        await run(settings, source, name)


async def test_a_folder_with_code_is_refused(settings: RegistrySettings, source: Path) -> None:
    (source / "model.py").write_text("print()")
    with pytest.raises(FolderError):
        await run(settings, source, "tiny")
    assert not (settings.storage_archive_path / "base").exists()


def test_the_command_prints_one_line(
    settings: RegistrySettings,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("MLX_HUB_HOME", str(settings.home))
    assert main([str(source), "tiny"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["artifact_path"]) == ("tiny", f"base/{shown['digest']}")
    assert main([str(source / "missing"), "tiny"]) == 1
    assert "missing" in capsys.readouterr().err
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/x")
    assert main([str(source), "tiny"]) == 1
    complaint = capsys.readouterr().err
    assert "database does not answer" in complaint
    assert "Traceback" not in complaint


async def test_importing_again_repairs_a_bit_that_the_time_hides(
    settings: RegistrySettings, source: Path
) -> None:
    base = await run(settings, source, "tiny")
    folder = settings.storage_archive_path / base.artifact_path
    for name in ("model.safetensors", "config.json"):
        with flipped(folder / name, bit=12345 % (8 * (folder / name).stat().st_size)):
            assert contents(folder) != contents(source)
            assert (await run(settings, source, "tiny")).id == base.id
            assert contents(folder) == contents(source)


async def test_an_imported_base_survives_a_restart_of_the_registry(hub: RunningRegistry) -> None:
    """Its folder is known by its row, however old it is."""
    await hub.registry.storage.reconciler.run()
    assert (hub.archive / "base" / hub.base_digest / "config.json").is_file()
