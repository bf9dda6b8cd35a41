"""Adapters read ahead of the batch: verified, unpacked, shared, and never larger than allowed."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.chassis.errors import DataLoss, FailedPrecondition
from services.inference.domain import Adapter
from services.inference.engine.adapters.files import Reader, read_adapter, size_of
from tests.fixtures.tiny_adapters import checksum, write_adapter

NAME = "model.layers.0.mlp.down_proj"
A = np.array([[1.5, -2.0], [0.25, 3.0]], np.float32)


def stored(folder: Path, kind: str, a: bytes) -> Adapter:
    """Write an adapter whose first half is stored as `kind`."""
    folder.mkdir(exist_ok=True)
    shared = {"shape": [2, 2]}
    header = {
        "__metadata__": {"format": "mlx"},
        f"{NAME}.lora_a": {**shared, "dtype": kind, "data_offsets": [0, len(a)]},
        f"{NAME}.lora_b": {**shared, "dtype": "F32", "data_offsets": [len(a), len(a) + 16]},
    }
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + a + A.tobytes()
    (folder / "adapters.safetensors").write_bytes(content)
    config = {"lora_parameters": {"rank": 2, "scale": 3.0, "dropout": 0.0}}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return Adapter(checksum(folder), folder)


@pytest.mark.parametrize(
    ("kind", "a"),
    [
        ("F32", A.tobytes()),
        ("F16", A.astype(np.float16).tobytes()),
        ("BF16", (A.view(np.uint32) >> 16).astype(np.uint16).tobytes()),
    ],
)
def test_all_float_types_are_unpacked_as_float32(tmp_path: Path, kind: str, a: bytes) -> None:
    adapter = stored(tmp_path / "a", kind, a)
    found = read_adapter(adapter.path, adapter.digest, 1000)
    assert (found.rank, found.scale, found.nbytes) == (2, 3.0, 32)
    for part in found.layers[NAME].values():
        assert part.dtype == np.float32
        assert np.array_equal(part, A)


def test_requests_that_come_together_share_what_is_read(tmp_path: Path) -> None:
    adapter = stored(tmp_path / "a", "F32", A.tobytes())
    reader = Reader(lambda name: name == "resident", 1000, 32)
    assert reader.weights_of("", "") is None
    assert reader.weights_of("resident", "/nowhere") is None
    first = reader.weights_of(adapter.digest, str(adapter.path))
    assert first is reader.weights_of(adapter.digest, str(adapter.path))
    del first
    (adapter.path / "adapters.safetensors").write_bytes(b"other")
    with pytest.raises(DataLoss):
        reader.weights_of(adapter.digest, str(adapter.path))


def test_no_more_is_read_ahead_than_may_be_and_what_was_taken_makes_room(tmp_path: Path) -> None:
    adapters = [stored(tmp_path / str(n), "F32", (A + n).tobytes()) for n in range(3)]
    reader = Reader(lambda name: False, 1000, 32 + 31)
    first = reader.weights_of(adapters[0].digest, str(adapters[0].path))
    assert first
    for _ in range(2):
        assert reader.weights_of(adapters[1].digest, str(adapters[1].path)) is None
    assert reader.weights_of(adapters[0].digest, str(adapters[0].path)) is first
    del first
    assert reader.weights_of(adapters[2].digest, str(adapters[2].path))
    halves = stored(tmp_path / "halves", "F16", A.astype(np.float16).tobytes())
    assert size_of(halves.path) == 32, "as float32"
    assert size_of(tmp_path) == 0


def test_what_is_read_is_in_memory_once(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a", 1, rank=4096, keys=("mlp.down_proj",))
    size = size_of(adapter.path)
    assert size == 2 * 4 * 4096 * (128 + 64)
    tracemalloc.start()
    try:
        found = read_adapter(adapter.path, adapter.digest, size)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.nbytes == size <= held <= peak < 1.1 * size


def test_a_scale_that_would_reach_the_neighbours_is_refused(tmp_path: Path) -> None:
    """Zero of another row times infinity is no number."""
    adapter = stored(tmp_path / "a", "F32", A.tobytes())
    for scale in ("2e38", "-2e38", "1e400", "NaN"):
        text = f'{{"lora_parameters": {{"rank": 2, "scale": {scale}}}}}'
        (adapter.path / "adapter_config.json").write_text(text)
        with pytest.raises(FailedPrecondition, match=r"times its scale, .* are not finite"):
            read_adapter(adapter.path, checksum(adapter.path), 1000)


def test_a_file_larger_than_all_adapters_may_be_is_not_read(tmp_path: Path) -> None:
    adapter = stored(tmp_path / "a", "F32", A.tobytes())
    with (adapter.path / "adapters.safetensors").open("r+b") as file:
        file.truncate(1 << 30)  # a hole: nothing is on the disk
    with pytest.raises(FailedPrecondition, match=r"1073\.7 MB.*MLX_HUB_ADAPTER_RANK"):
        read_adapter(adapter.path, adapter.digest, 1000)


def cut(content: bytes) -> bytes:
    return content[:-4]


def overlapping(content: bytes) -> bytes:
    return content.replace(b"[16, 32]", b"[ 0, 16]")


def of_whole_numbers(content: bytes) -> bytes:
    return content.replace(b'"F32"', b'"I32"')


@pytest.mark.parametrize("damage", [cut, overlapping, of_whole_numbers])
def test_what_was_published_may_still_be_no_adapter(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    file = stored(tmp_path / "a", "F32", A.tobytes()).path / "adapters.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(FailedPrecondition, match="its files can't be read"):
        read_adapter(file.parent, checksum(file.parent), 1000)
