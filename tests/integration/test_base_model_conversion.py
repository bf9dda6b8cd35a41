"""A Hugging Face-style folder becomes one of MLX's: the same numbers, always the same bytes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from services.runtime.folder import inspect_model_folder
from services.runtime.safetensors import read_header
from tests.fixtures.hf_model import HEADS, LAYERS, Weights, bfloat16, write_gpt2, write_llama

LOGITS = """
import sys
from pathlib import Path
import numpy as np
from services.runtime.model import load_base
model, tokenizer, config = load_base(Path(sys.argv[1]))
import mlx.core as mx
np.save(sys.argv[2], np.array(model(mx.array([[*range(3, 43)]]))))
"""
TOKENS = np.arange(3, 43)

type Run = subprocess.CompletedProcess[str]


def convert(source: Path, dest: Path, *options: str) -> Run:
    words = ["services.runtime.convert", str(source), str(dest), *options]
    return subprocess.run(
        [sys.executable, "-m", *words], check=False, capture_output=True, text=True
    )


def described(done: Run) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def logits(folder: Path) -> NDArray[Any]:
    out = folder.parent / f"{folder.name}.npy"
    subprocess.run([sys.executable, "-c", LOGITS, str(folder), str(out)], check=True)
    found: NDArray[Any] = np.load(out)[0]
    return found


def raw(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Read each tensor's type and bytes from all of a folder's files."""
    found = {}
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__")
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            found[name] = (entry["dtype"], data[start + begin : start + end])
    return found


def gpt2(weights: Weights) -> NDArray[Any]:
    """Compute GPT-2 from PyTorch's weights, independently of MLX."""

    def norm(x: NDArray[Any], name: str) -> NDArray[Any]:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        out: NDArray[Any] = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return out

    def linear(x: NDArray[Any], name: str) -> NDArray[Any]:
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    count = len(TOKENS)
    x = weights["wte.weight"][TOKENS] + weights["wpe.weight"][:count]
    for n in range(LAYERS):
        mixed = linear(norm(x, f"h.{n}.ln_1"), f"h.{n}.attn.c_attn").reshape(count, 3, HEADS, -1)
        q, k, v = mixed.transpose(1, 2, 0, 3)
        scores = q @ k.swapaxes(1, 2) / np.sqrt(np.float32(q.shape[-1]))
        scores = np.where(np.tri(count, dtype=bool), scores, -np.inf)
        seen = np.exp(scores - scores.max(-1, keepdims=True))
        attended = seen / seen.sum(-1, keepdims=True) @ v
        x = x + linear(attended.swapaxes(0, 1).reshape(count, -1), f"h.{n}.attn.c_proj")
        inner = linear(norm(x, f"h.{n}.ln_2"), f"h.{n}.mlp.c_fc")
        gelu = inner * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = x + linear(gelu, f"h.{n}.mlp.c_proj")
    return norm(x, "ln_f") @ weights["wte.weight"].T


@pytest.fixture
def llama(tiny_model: Path, tmp_path: Path) -> Path:
    write_llama(tmp_path / "llama", tiny_model)
    return tmp_path / "llama"


def test_names_and_layouts_become_mlx(tiny_model: Path, tmp_path: Path) -> None:
    expected = gpt2(write_gpt2(tmp_path / "gpt2", tiny_model))
    found = described(convert(tmp_path / "gpt2", tmp_path / "out"))
    assert (found["model_type"], found["is_mlx"], found["quantization"]) == ("gpt2", True, "")
    assert np.abs(logits(tmp_path / "out") - expected).max() < 1e-5  # of 0.67; measured 3e-7


def test_weights_keep_their_type_and_bits(llama: Path, tiny_model: Path, tmp_path: Path) -> None:
    done = convert(llama, tmp_path / "out")
    found, before = described(done), inspect_model_folder(tiny_model)
    assert [*done.stdout.splitlines()[:-1]] == [
        "validating llama", "converting to MLX", "checking what was written",
    ]  # fmt: skip
    expected = {
        name: ("BF16", bfloat16(array))
        for name, array in load_file(tiny_model / "model.safetensors").items()
    }
    assert raw(tmp_path / "out") == expected
    assert found["parameters"] == before.parameters
    names = {file["name"] for file in found["files"]}
    assert names == {file.name for file in before.files} | {"README.md"}
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "_name_or_path" not in config
    tokenizer = (tmp_path / "out" / "tokenizer.json").read_bytes()
    assert tokenizer == (tiny_model / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("options", [(), ("--quantize", "4")])
def test_the_same_source_gives_the_same_digest(
    llama: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    first = described(convert(llama, tmp_path / "one", *options))
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in sorted(llama.iterdir(), reverse=True):  # another order on the disk
        shutil.copy(file, moved)
    second = described(convert(moved, tmp_path / "two", *options))
    assert second == first
    names = list(read_header(tmp_path / "one" / "model.safetensors").tensors)
    assert names == sorted(names)


@pytest.mark.parametrize(("bits", "bound"), [("4", 0.6), ("8", 0.05)])
def test_packed_weights_give_close_logits(
    tiny_model: Path, tmp_path: Path, bits: str, bound: float
) -> None:
    """Relative to the logits' spread, random weights were off by 0.42 and 0.027 when measured."""
    found = described(convert(tiny_model, tmp_path / "out", "--quantize", bits))
    assert found["quantization"] == f"{bits}-bit affine, groups of 64"
    assert found["parameters"] == inspect_model_folder(tiny_model).parameters
    dense, packed = logits(tiny_model), logits(tmp_path / "out")
    assert 0 < np.sqrt(np.mean((dense - packed) ** 2)) / dense.std() < bound


@pytest.mark.parametrize("bits", [4, 8])
def test_packing_is_arithmetic_that_all_platforms_share(
    tiny_model: Path, tmp_path: Path, bits: int
) -> None:
    """Subtract, divide and round in float32, as NumPy does: no step that a platform may fuse."""
    described(convert(tiny_model, tmp_path / "out", "--quantize", str(bits)))
    packed = load_file(tmp_path / "out" / "model.safetensors")
    for name, dense in load_file(tiny_model / "model.safetensors").items():
        if dense.ndim != 2:
            continue
        rows, top = dense.reshape(-1, 64), np.float32(2**bits - 1)
        low, high = rows.min(1), rows.max(1)
        step = (high - low) / top
        edge = np.where(abs(low) > abs(high), low, high)
        scale = edge / np.rint(edge / np.where(abs(low) > abs(high), step, -step))
        codes = np.clip(np.rint((rows - edge[:, None]) / scale[:, None]), 0, top)
        shifts = np.arange(32 // bits, dtype=np.uint32) * np.uint32(bits)
        words = codes.astype(np.uint32).reshape(-1, 32 // bits) << shifts
        module = name.removesuffix(".weight")
        assert (packed[f"{module}.scales"].ravel() == scale).all()
        assert (packed[f"{module}.biases"].ravel() == edge).all()
        assert (packed[name].ravel() == words.sum(1, dtype=np.uint32)).all()


def test_packed_scales_keep_the_type_of_the_weights(llama: Path, tmp_path: Path) -> None:
    described(convert(llama, tmp_path / "out", "--quantize", "4"))
    types = {name.rpartition(".")[2]: kind for name, (kind, _) in raw(tmp_path / "out").items()}
    assert (types["scales"], types["biases"]) == ("BF16", "BF16")
    assert np.isfinite(logits(tmp_path / "out")).all()


@pytest.mark.parametrize(("width", "group"), [(64, 64), (32, 32), (48, None)])
def test_groups_fit_the_width(
    tiny_model: Path, tmp_path: Path, width: int, group: int | None
) -> None:
    resize(tiny_model, tmp_path / "model", width)
    done = convert(tmp_path / "model", tmp_path / "out", "--quantize", "8")
    if group:
        assert described(done)["quantization"] == f"8-bit affine, groups of {group}"
        assert logits(tmp_path / "out").shape[0] == len(TOKENS)
    else:
        assert (done.returncode, "no layer's width divides" in done.stderr) == (2, True)


def resize(source: Path, dest: Path, width: int) -> None:
    """Write the tiny model with other sizes: every matrix `width` wide."""
    shutil.copytree(source, dest)
    config = json.loads((dest / "config.json").read_text())
    config |= {"hidden_size": width, "intermediate_size": width, "head_dim": width // HEADS}
    (dest / "config.json").write_text(json.dumps(config | {"num_key_value_heads": HEADS}))
    weights = load_file(dest / "model.safetensors")
    for name, array in weights.items():
        shape = [width] * array.ndim
        if "embed" in name:
            shape[0] = array.shape[0]
        weights[name] = np.ones(shape, np.float32) / width
    save_file(weights, dest / "model.safetensors", {"format": "pt"})


def test_what_is_packed_is_not_packed_again(tiny_model: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    first = described(convert(tiny_model, packed, "--quantize", "4"))
    again = convert(packed, tmp_path / "out", "--quantize", "8")
    assert again.returncode == 2
    assert "'packed' is quantised already (4-bit affine, groups of 64)" in again.stderr
    assert described(convert(packed, tmp_path / "copy")) == first
    (tmp_path / "a.gguf").write_bytes(b"")
    gguf = convert(tmp_path / "a.gguf", tmp_path / "out", "--quantize", "8")
    assert (gguf.returncode, "keeps the types it has" in gguf.stderr) == (2, True)


def spoil(name: str, folder: Path) -> None:
    """Make a folder unfit in the way of this name."""
    shard, config = folder / "model-00001-of-00002.safetensors", folder / "config.json"
    changes = {"auto_map": {"A": "b.C"}, "hidden_size": 60, "model_type": "bert"}
    match name:
        case "model.py":
            (folder / name).write_bytes(b"x")
        case "model-00001-of-00002.safetensors":
            shard.write_bytes(shard.read_bytes()[:-1])
        case _:
            found = json.loads(config.read_text())
            config.write_text(json.dumps({**found, name: changes[name]}))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("model.py", "'model.py' does not belong"),
        ("auto_map", "'config.json' asks to run code (auto_map)"),
        ("model-00001-of-00002.safetensors", "no safetensors file: its data is cut short"),
        ("hidden_size", "MLX-LM cannot build this model"),
        ("model_type", "Model type bert not supported"),
    ],
)
def test_an_unfit_folder_is_refused_in_one_line(
    llama: Path, tmp_path: Path, name: str, complaint: str
) -> None:
    spoil(name, llama)
    done = convert(llama, tmp_path / "models" / "out", "--quantize", "4")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert complaint in done.stderr
    assert str(tmp_path) not in done.stderr
    assert list((tmp_path / "models").iterdir()) == []
