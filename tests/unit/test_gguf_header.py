"""A GGUF file's header is read in Python and refused in Python, whatever its bytes."""

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.gguf import convert_gguf
from services.runtime.gguf_header import GgufError, GgufTensor, read_gguf_header

SMOLLM = {
    "general.architecture": "llama",
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ["a", "b"],
    "tokenizer.ggml.token_type": [1, 1],
}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def value(content: Any) -> bytes:
    match content:
        case str():
            return struct.pack("<I", 8) + text(content)
        case [str(), *_]:
            return struct.pack("<IIQ", 9, 8, len(content)) + b"".join(map(text, content))
        case list():
            return struct.pack(f"<IIQ{len(content)}i", 9, 5, len(content), *content)
        case _:
            return struct.pack("<IQ", 10, content)


def gguf(metadata: dict[str, Any], *tensors: tuple[str, list[int], int, int]) -> bytes:
    """The bytes of a file with 128 bytes of data; a tensor is (name, sizes, type, offset)."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    head += b"".join(text(key) + value(content) for key, content in metadata.items())
    for name, sizes, kind, offset in tensors:
        head += text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)
    return head + bytes(-len(head) % 32) + bytes(128)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def test_reads_metadata_and_tensors(file: Path) -> None:
    file.write_bytes(gguf({**SMOLLM, "n": 7}, ("x", [4, 2], 0, 0), ("y", [64], 3, 32)))
    header = read_gguf_header(file)
    assert header.metadata == {**SMOLLM, "n": 7}
    assert header.tensors == {"x": GgufTensor("F32", (2, 4)), "y": GgufTensor("Q4_1", (64,))}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a GGUF file"),
        (b"GGML" + bytes(40), "not a GGUF file"),
        (gguf(SMOLLM)[:60], "malformed or truncated"),
        (gguf({"k": "v"}).replace(b"v", b"\xff"), "malformed or truncated"),
        (gguf({}, ("x", [4], 12, 0)), "unsupported type"),
        (gguf({}, ("x", [4], 3, 0)), "rows of 4 values"),
        (gguf({}, ("x", [4] * 5, 0, 0)), "5 dimensions"),
        (gguf({}, ("x", [33], 0, 0)), "cut short"),
        (gguf({}, ("x", [1], 0, 1 << 63)), "cut short"),
        (gguf({}, ("x", [4], 0, 0), ("x", [4], 0, 0)), "appears twice"),
        (gguf({"general.alignment": 0}), "bad alignment"),
    ],
)
def test_refuses_malformed_files(file: Path, content: bytes, reason: str) -> None:
    file.write_bytes(content)
    with pytest.raises(GgufError, match=reason):
        read_gguf_header(file)


@given(st.integers(0, 300), st.binary(min_size=1, max_size=12))
def test_a_damaged_file_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, where: int, damage: bytes
) -> None:
    whole = gguf(SMOLLM, ("x", [4, 2], 0, 0))
    file = tmp_path_factory.getbasetemp() / "damaged.gguf"
    file.write_bytes(whole[:where] + damage + whole[where + len(damage) :])
    with suppress(GgufError):
        read_gguf_header(file)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"general.architecture": "qwen2"}, "general.architecture is 'qwen2'"),
        ({"tokenizer.ggml.pre": "llama-bpe"}, "tokenizer.ggml.pre is 'llama-bpe'"),
        ({"llama.rope.scaling.type": "linear"}, "rope scaling"),
        ({"tokenizer.ggml.tokens": ["a"]}, "differ in size"),
    ],
)
def test_refuses_other_models(file: Path, change: dict[str, Any], reason: str) -> None:
    file.write_bytes(gguf(SMOLLM | change, ("token_embd.weight", [4, 2], 0, 0)))
    with pytest.raises(GgufError, match=reason):
        convert_gguf(file, file.parent)
    assert list(file.parent.iterdir()) == [file]
