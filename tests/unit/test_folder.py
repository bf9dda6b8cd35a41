"""A base model's folder is judged before anything loads it; files of the wrong kind never pass."""

import hashlib
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.folder import FolderError, inspect_model_folder
from services.runtime.safetensors import SafetensorsError, Tensor, read_header


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A model folder that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def weights(file: Path, header: Any, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return file


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_describes_a_dense_model(model: Path) -> None:
    found = inspect_model_folder(model)
    assert (found.model_type, found.context_length, found.quantization) == ("llama", 2048, "")
    assert found.parameters == 259 * 64 + 64 + 2 * (64 * 64 * 3 + 3 * 64 * 128 + 2 * 64)
    assert found.has_chat_template
    assert found.size_bytes == sum(file.size for file in found.files)


def test_digest_covers_names_sizes_and_contents(model: Path) -> None:
    before = inspect_model_folder(model)
    lines = "".join(f"{f.name}\0{f.size}\0{f.sha256}\n" for f in before.files)
    assert before.digest == hashlib.sha256(lines.encode()).hexdigest()
    edit(model / "generation_config.json", note="x")
    assert inspect_model_folder(model).digest != before.digest
    assert inspect_model_folder(model, hash_files=False).digest == ""


def test_counts_packed_weights_unpacked(model: Path) -> None:
    header = {
        "a.weight": entry("U32", [8, 8], 0, 256),
        "a.scales": entry("F16", [8, 2], 256, 288),
        "a.biases": entry("F16", [8, 2], 288, 320),
        "b.weight": entry("U32", [8, 16], 320, 832),
        "b.scales": entry("F16", [8, 2], 832, 864),
    }
    weights(model / "model.safetensors", header, bytes(864))
    edit(model / "config.json", quantization={"bits": 4, "group_size": 32, "b": {"bits": 8}})
    found = inspect_model_folder(model)
    assert found.parameters == 8 * 64 + 8 * 64
    assert found.quantization == "4-bit affine, groups of 32"


def test_hidden_entries_do_not_count(model: Path) -> None:
    before = inspect_model_folder(model)
    (model / ".cache").mkdir()
    (model / ".gitattributes").write_text("*")
    assert inspect_model_folder(model) == before


@pytest.mark.parametrize(
    "name", ["model.py", "pytorch_model.bin", "a.pkl", "a.pt", "a.pickle", "a.zip", "a.tar.gz", "a"]
)
def test_refuses_files_that_do_not_belong(model: Path, name: str) -> None:
    (model / name).write_bytes(b"")
    with pytest.raises(FolderError, match=name) as refused:
        inspect_model_folder(model)
    assert str(model) not in str(refused.value)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_refuses_an_incomplete_folder(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(FolderError, match=f"'{name}' is missing"):
        inspect_model_folder(model)


def test_refuses_a_missing_shard(model: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FolderError, match=r"'model-2\.safetensors' is missing"):
        inspect_model_folder(model)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("hook", ["auto_map", "model_file"])
def test_refuses_hooks_for_code(model: Path, file: str, hook: str) -> None:
    edit(model / file, **{hook: "x"})
    with pytest.raises(FolderError, match=rf"'{file}' asks to run code \({hook}\)"):
        inspect_model_folder(model)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\xff"])
def test_refuses_a_config_that_is_no_object(model: Path, text: str) -> None:
    (model / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(FolderError, match=r"'config.json' is not"):
        inspect_model_folder(model)


@pytest.mark.parametrize("kind", [None, 3, "", "../llama", "a.b", "x" * 65])
def test_refuses_an_odd_model_type(model: Path, kind: object) -> None:
    edit(model / "config.json", model_type=kind)
    with pytest.raises(FolderError, match="model_type"):
        inspect_model_folder(model)


def test_refuses_links_out_and_sub_folders(model: Path) -> None:
    (model / "notes.txt").symlink_to(model / "config.json")
    inspect_model_folder(model)
    (model / "other.txt").symlink_to(Path(__file__))
    with pytest.raises(FolderError, match=r"'other.txt' is a link out of the folder"):
        inspect_model_folder(model)
    (model / "other.txt").unlink()
    (model / "original").mkdir()
    with pytest.raises(FolderError, match="'original' is not a plain file"):
        inspect_model_folder(model)


def test_a_missing_folder_is_named_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"^'gone' is not a folder"):
        inspect_model_folder(tmp_path / "gone")


def test_reads_a_header(tmp_path: Path) -> None:
    header = {"__metadata__": {"format": "mlx"}, "b": entry("F16", [3], 8, 14)}
    header["a"] = entry("F32", [2, 1], 0, 8)
    file = weights(tmp_path / "w", header, bytes(14))
    assert read_header(file) == {"a": Tensor("F32", (2, 1), 8), "b": Tensor("F16", (3,), 6)}


BAD_HEADERS = {
    "not JSON": b"{",
    "not text": b"\xff\xfe",
    "nested without end": b"[" * 100_000,
    "no object": [],
    "a key twice": b'{"a": 1, "a": 2}',
    "no entry": {"a": 1},
    "an unknown type": {"a": entry("F8", [8], 0, 8)},
    "a negative size": {"a": entry("U8", [-8, -1], 0, 8)},
    "a size that is no number": {"a": entry("U8", [True], 0, 1)},
    "a size against its shape": {"a": entry("F32", [3], 0, 8)},
    "reversed offsets": {"a": entry("U8", [8], 8, 0)},
    "data beyond the file": {"a": entry("U8", [9], 0, 9)},
    "data left over": {"a": entry("U8", [7], 0, 7)},
    "a hole": {"a": entry("U8", [2], 0, 2), "b": entry("U8", [4], 4, 8)},
    "an overlap": {"a": entry("U8", [5], 0, 5), "b": entry("U8", [4], 4, 8)},
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_refuses_bad_weights(tmp_path: Path, name: str) -> None:
    file = weights(tmp_path / "w", BAD_HEADERS[name], bytes(8))
    with pytest.raises(SafetensorsError):
        read_header(file)


@given(st.binary(max_size=64))
def test_no_bytes_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(content)
    with pytest.raises(SafetensorsError):
        read_header(file)
