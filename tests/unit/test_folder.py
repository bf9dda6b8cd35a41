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
from services.runtime.safetensors import Header, SafetensorsError, Tensor, read_header


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
    assert (found.has_chat_template, found.is_mlx) == (True, True)
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


@pytest.mark.parametrize(
    ("index", "complaint"),
    [
        ({"weight_map": {"b": "model-2.safetensors"}}, r"'model-2\.safetensors' is missing"),
        ({"weight_map": {"b": "model.safetensors"}}, r"'model\.safetensors' lacks 'b'"),
        ({"weight_map": {"b": "../model.safetensors"}}, r"'\.\./model\.safetensors' is missing"),
        ({"weight_map": []}, "has no weight_map"),
        ({}, "has no weight_map"),
    ],
)
def test_refuses_an_index_that_does_not_hold(model: Path, index: Any, complaint: str) -> None:
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FolderError, match=complaint):
        inspect_model_folder(model)


def test_refuses_a_tensor_in_two_files(model: Path) -> None:
    shutil.copy(model / "model.safetensors", model / "model-2.safetensors")
    with pytest.raises(FolderError, match=r"'model\.safetensors' holds .* once more"):
        inspect_model_folder(model)


def test_weights_that_nothing_loads_are_validated_but_not_counted(model: Path) -> None:
    before = inspect_model_folder(model)
    other = weights(model / "consolidated.safetensors", {"a": entry("U8", [8], 0, 8)}, bytes(8))
    assert inspect_model_folder(model).parameters == before.parameters
    other.write_bytes(b"")
    with pytest.raises(FolderError, match=r"'consolidated\.safetensors' is no safetensors file"):
        inspect_model_folder(model)


@pytest.mark.parametrize(
    ("metadata", "config", "is_mlx"),
    [
        ({"format": "mlx"}, {}, True),
        ({"format": "pt"}, {}, False),
        (None, {}, False),
        ({"format": "pt"}, {"quantization": {"bits": 4, "group_size": 64}}, True),
        ({"format": "pt"}, {"quantization_config": {"quant_method": "awq"}}, False),
    ],
)
def test_tells_mlx_from_hugging_face(
    model: Path, metadata: dict[str, str] | None, config: dict[str, Any], is_mlx: bool
) -> None:
    header = {"a": entry("U8", [8], 0, 8)}
    noted = header if metadata is None else {"__metadata__": metadata, **header}
    weights(model / "model.safetensors", noted, bytes(8))
    edit(model / "config.json", **config)
    assert inspect_model_folder(model).is_mlx is is_mlx


def test_shards_are_mlx_only_together(model: Path) -> None:
    header = {"__metadata__": {"format": "pt"}, "a": entry("U8", [8], 0, 8)}
    weights(model / "model-2.safetensors", header, bytes(8))
    assert not inspect_model_folder(model).is_mlx


@pytest.mark.parametrize(
    "file",
    ["config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json"],
)
@pytest.mark.parametrize("hook", ["auto_map", "model_file"])
@pytest.mark.parametrize("nested", [False, True])
def test_refuses_hooks_for_code(model: Path, file: str, hook: str, nested: bool) -> None:
    if not (model / file).exists():
        (model / file).write_text("{}")
    edit(model / file, **({"text_config": {hook: "x"}} if nested else {hook: "x"}))
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
    tensors = {"a": Tensor("F32", (2, 1), 8, 0), "b": Tensor("F16", (3,), 6, 8)}
    assert read_header(file) == Header(tensors, {"format": "mlx"})


BAD_HEADERS = {
    "not JSON": b"{",
    "not text": b"\xff\xfe",
    "nested without end": b"[" * 100_000,
    "no object": [],
    "a key twice": b'{"a": 1, "a": 2}',
    "a key twice in an entry": b'{"a": {"dtype": "U8", "dtype": "I8"}}',
    "not a number": b'{"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, NaN]}}',
    "an infinity among the notes": b'{"__metadata__": {"x": Infinity}}',
    "notes that are no texts": {"__metadata__": {"x": 1}, "a": entry("U8", [8], 0, 8)},
    "notes that are a list": {"__metadata__": [], "a": entry("U8", [8], 0, 8)},
    "a number of thousands of digits": b'{"a": ' + b"1" * 5000 + b"}",
    "a huge shape beside a zero": {"a": entry("U8", [2**64, 0], 0, 0)},
    "a shape without end": {"a": entry("U8", [1] * 100_000 + [8], 0, 8)},
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


@pytest.mark.parametrize("length", [0, 9, 100_000_000, 100_000_001, 2**63, 2**64 - 1])
def test_refuses_a_header_longer_than_its_file(tmp_path: Path, length: int) -> None:
    file = tmp_path / "w"
    file.write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(SafetensorsError):
        read_header(file)


def test_refuses_a_header_over_the_limit_unread(tmp_path: Path) -> None:
    file = tmp_path / "w"
    with file.open("wb") as sparse:
        sparse.write(struct.pack("<Q", 100_000_001))
        sparse.truncate(200_000_000)
    with pytest.raises(SafetensorsError, match="too large"):
        read_header(file)


@given(st.binary(max_size=64))
def test_no_bytes_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(content)
    with pytest.raises(SafetensorsError):
        read_header(file)
