"""Blocks on disk: given back as they were written, or not at all."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.inference.engine.prefix_disk import Disk, Layer, Raw
from services.inference.prefix_files import files_in, remove_files
from services.runtime.safetensors import read_header
from tests.fixtures.flips import flips

LAYOUT = (Layer(2, 8, 4, "F32"), Layer(1, 16, 16, "BF16"))
TOKENS = 3
KEY = bytes(range(32))
FOREVER = 1 << 30


def raw(seed: int = 0) -> Raw:
    sizes = [(2 * TOKENS * 8 * 4, 2 * TOKENS * 4 * 4), (TOKENS * 16 * 2, TOKENS * 16 * 2)]
    return [(bytes([seed + 1]) * keys, bytes([seed + 2]) * values) for keys, values in sizes]


def written(folder: Path, limit: int = FOREVER, keys: tuple[bytes, ...] = (KEY,)) -> Disk:
    disk = Disk(folder, limit)
    for number, key in enumerate(keys):
        disk.write(key, LAYOUT, raw(number))
        disk.drain()
        for age, file in enumerate(sorted(files_in(folder.parent), key=lambda file: file.used)):
            os.utime(file.path, (1000 + age, 1000 + age))
    return disk


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "prefix-cache" / "base"


def test_a_block_comes_back_also_after_a_restart(folder: Path) -> None:
    assert written(folder).read(KEY, LAYOUT, TOKENS) == raw()
    assert Disk(folder, FOREVER).read(KEY, LAYOUT, TOKENS) == raw()
    assert Disk(folder, FOREVER).read(bytes(32), LAYOUT, TOKENS) is None


def test_files_are_safetensors_that_only_their_owner_reads(folder: Path) -> None:
    written(folder)
    (path,) = folder.iterdir()
    assert path.name == f"{KEY.hex()}.safetensors"
    header = read_header(path)
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in header.tensors.items()}
    assert shapes["0.values"] == ("F32", (1, 2, TOKENS, 4))
    assert shapes["1.keys"] == ("BF16", (1, 1, TOKENS, 16))
    assert header.metadata["key"] == KEY.hex()
    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_any_changed_bit_is_a_miss_and_the_file_goes(folder: Path) -> None:
    disk = written(folder)
    (path,) = folder.iterdir()
    sound = path.read_bytes()
    for _ in flips(path, times=40):
        assert disk.read(KEY, LAYOUT, TOKENS) is None
        assert not path.exists()
        path.write_bytes(sound)
    assert disk.read(KEY, LAYOUT, TOKENS) == raw()


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_file_cut_short_is_a_miss(folder: Path, size: int) -> None:
    disk = written(folder)
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:size])
    assert disk.read(KEY, LAYOUT, TOKENS) is None
    assert not path.exists()


def test_a_file_of_another_key_or_shape_is_a_miss(folder: Path) -> None:
    disk = written(folder)
    (path,) = folder.iterdir()
    other = bytes(32)
    path.rename(path.with_name(f"{other.hex()}.safetensors"))
    assert disk.read(other, LAYOUT, TOKENS) is None
    written(folder)
    halves = tuple(Layer(a.heads, a.key_width, a.value_width, "F16") for a in LAYOUT)
    assert disk.read(KEY, halves, TOKENS) is None
    assert list(folder.iterdir()) == []


def test_all_base_models_together_stay_within_the_bound(folder: Path) -> None:
    written(folder)
    size = sum(file.size for file in files_in(folder.parent))
    keys = tuple(bytes([n]) * 32 for n in range(4))
    disk = written(folder.with_name("other"), 3 * size, keys)
    kept = files_in(folder.parent)
    assert sum(file.size for file in kept) <= 3 * size
    assert {bytes.fromhex(file.path.stem) for file in kept} == set(keys[1:])
    assert disk.read(keys[1], LAYOUT, TOKENS) == raw(1)
    disk.write(KEY, LAYOUT, raw())
    disk.drain()
    assert disk.read(keys[1], LAYOUT, TOKENS) == raw(1), "used just now"
    assert disk.read(keys[2], LAYOUT, TOKENS) is None
    tiny = Disk(folder.with_name("tiny"), size - 1)
    tiny.write(KEY, LAYOUT, raw())
    tiny.drain()
    assert tiny.read(KEY, LAYOUT, TOKENS) is None


def test_what_a_crash_left_goes_and_clearing_spares_other_base_models(folder: Path) -> None:
    disk, other = written(folder), written(folder.with_name("other"))
    (folder / f".{KEY.hex()}.safetensors").write_bytes(b"half")
    Disk(folder, FOREVER)
    assert [path.name for path in folder.iterdir()] == [f"{KEY.hex()}.safetensors"]
    told = list[int]()
    disk.clear(told.append)
    disk.drain()
    assert told[0] > 0
    assert disk.read(KEY, LAYOUT, TOKENS) is None
    assert other.read(KEY, LAYOUT, TOKENS) == raw()
    assert remove_files(folder.parent) == (told[0], 0)
    assert files_in(folder.parent) == []


def test_a_file_that_cannot_be_removed_stands_in_nobodys_way(folder: Path) -> None:
    disk = written(folder)
    (folder / f"{bytes(32).hex()}.safetensors" / "in it").mkdir(parents=True)
    (folder / "empty.safetensors").touch()
    told = list[int]()
    disk.clear(told.append)
    disk.drain()
    assert told[0] > 0, "who asked is answered"
    assert [path.is_dir() for path in folder.iterdir()] == [True]
    assert remove_files(folder.parent) == (0, 1)
    full = Disk(folder, files_in(folder.parent)[0].size)
    full.write(KEY, LAYOUT, raw())
    full.drain()
    assert len(files_in(folder.parent)) == 1, "there is no room beside it"


def test_a_full_disk_is_left_as_it_was(folder: Path) -> None:
    disk = written(folder, keys=())
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        disk.write(KEY, LAYOUT, raw())
        disk.drain()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    assert list(folder.iterdir()) == [], "what fitted of the block would never be counted"
    disk.write(KEY, LAYOUT, raw())
    disk.drain()
    assert disk.read(KEY, LAYOUT, TOKENS) == raw()


def test_a_folder_that_goes_away_stops_nothing(folder: Path) -> None:
    disk = written(folder)
    remove_files(folder.parent)
    folder.rmdir()
    disk.write(KEY, LAYOUT, raw())
    disk.drain()
    folder.mkdir()
    disk.write(KEY, LAYOUT, raw())
    disk.drain()
    assert disk.read(KEY, LAYOUT, TOKENS) == raw()
