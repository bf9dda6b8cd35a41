"""Looking into a base model's folder without loading it: plain Python, no MLX.

A model folder is flat: config.json, tokenizer.json, *.safetensors and small text files. MLX-LM
writes it with its own names and layouts of weights, Hugging Face's libraries with PyTorch's.
Anything that could run code when read (Python, pickles, remote-code hooks) is refused, and so is
anything unexpected.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.runtime.safetensors import SafetensorsError, Tensor, read_header

_MAX_JSON_BYTES = 64 << 20
_PIECE_BYTES = 1 << 20
INDEX = "model.safetensors.index.json"
_SUFFIXES = {".safetensors", ".json", ".jsonl", ".jinja", ".txt", ".md", ".model", ".tiktoken"}
_BARE_NAMES = {"LICENSE", "NOTICE"}
_MODEL_TYPE = re.compile(r"[A-Za-z0-9_-]{1,64}")


class FolderError(ValueError):
    """The folder is no usable model; the message names the file and the remedy, not a path."""


@dataclass(frozen=True)
class FileDigest:
    """One file: its name, its size in bytes and its SHA-256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder holds.

    `is_mlx` tells MLX-LM's form from Hugging Face's. `parameters` counts weights (packed ones
    unpacked, scales not counted), `size_bytes` all files; `context_length` is in tokens, 0 if the
    model does not state one; `quantization` reads like "4-bit affine, groups of 32", empty if
    dense. Without a chat template the model takes plain prompts only. `files` and `digest` are
    empty if the files were not hashed.
    """

    model_type: str
    is_mlx: bool
    parameters: int
    size_bytes: int
    context_length: int
    quantization: str
    has_chat_template: bool
    files: tuple[FileDigest, ...] = ()
    digest: str = ""


def inspect_model_folder(path: Path, *, hash_files: bool = True) -> ModelFolder:
    """Validate the model folder at `path` and describe it; read every byte if `hash_files`.

    Raises FolderError for a missing folder, a file that does not belong there, a link out of it,
    remote-code hooks in its configuration, malformed or missing weights, config or tokenizer.
    """
    if not path.is_dir():
        raise FolderError(f"{path.name!r} is not a folder; give the folder that holds config.json")
    for required in ("config.json", "tokenizer.json"):
        if not (path / required).is_file():
            raise FolderError(f"{required!r} is missing; give a complete model folder")
    paths = list_files(path)
    names = {file.name for file in paths}
    configs = read_configs(path)
    config, tokenizer = configs["config.json"], configs.get("tokenizer_config.json", {})
    tensors, written_by_mlx = _read_weights(path, names)
    files = tuple(digest(file) for file in paths) if hash_files else ()
    return ModelFolder(
        model_type=_model_type(config),
        is_mlx=written_by_mlx or "quantization" in config,
        parameters=_count_parameters(tensors, config),
        size_bytes=sum(file.stat().st_size for file in paths),
        context_length=_context_length(config),
        quantization=_describe_quantization(config),
        has_chat_template="chat_template" in tokenizer or not names.isdisjoint(_TEMPLATE_FILES),
        files=files,
        digest=digest_of(files) if files else "",
    )


_TEMPLATE_FILES = {"chat_template.jinja", "chat_template.json"}


def list_files(path: Path) -> list[Path]:
    """Return the folder's files sorted by name, without hidden ones, which no loader reads.

    Raises FolderError for a sub-folder, a link out of the folder, and a kind of file not expected.
    """
    root, files = path.resolve(), []
    for entry in sorted(path.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.resolve().parent != root:
            raise FolderError(
                f"{entry.name!r} is a link out of the folder; copy the folder, following its links"
            )
        if not entry.is_file():
            raise FolderError(
                f"{entry.name!r} is not a plain file; a model folder is flat, move it away"
            )
        if not belongs(entry.name):
            raise FolderError(
                f"{entry.name!r} does not belong in a model folder "
                "(code, pickles and archives are never loaded); move it away"
            )
        files.append(entry)
    return files


def belongs(name: str) -> bool:
    """Tell whether a file of this name may be part of a model: weights and texts, never code."""
    return Path(name).suffix in _SUFFIXES or name in _BARE_NAMES


def read_configs(path: Path) -> dict[str, dict[str, Any]]:
    """Read each configuration in the folder by its name; refuse those that would run code."""
    found = (file for file in sorted(path.glob("*config.json")) if not file.name.startswith("."))
    return {file.name: _read_config(file) for file in found}


def hash_folder(
    path: Path, read: Callable[[int], None] = lambda size: None
) -> tuple[FileDigest, ...]:
    """Hash what `list_files` lists, whatever it holds; `read` hears of each piece's bytes."""
    return tuple(digest(file, read) for file in list_files(path))


def hash_files(path: Path, *names: str) -> tuple[FileDigest, ...]:
    """Hash some of a folder's files."""
    return tuple(digest(path / name) for name in names)


def digest_of(files: tuple[FileDigest, ...]) -> str:
    """Return one SHA-256 in hex over all files: over "name\\0size\\0sha256\\n" each, by name."""
    lines = (f"{f.name}\0{f.size}\0{f.sha256}\n" for f in sorted(files, key=lambda f: f.name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def digest(path: Path, read: Callable[[int], None] = lambda size: None) -> FileDigest:
    """Hash one file; `read` hears of each piece's bytes."""
    found, piece = hashlib.sha256(), bytearray(_PIECE_BYTES)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(piece):
            found.update(memoryview(piece)[:size])
            read(size)
    return FileDigest(path.name, path.stat().st_size, found.hexdigest())


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise FolderError(
            f"{path.name!r} is larger than {_MAX_JSON_BYTES >> 20} MiB; check the download"
        )
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{path.name!r} is not valid JSON; check the download") from error
    if not isinstance(content, dict):
        raise FolderError(f"{path.name!r} is not a JSON object; check the download")
    return content


def _read_config(path: Path) -> dict[str, Any]:
    """Read a configuration; refuse the keys that tell loaders to run the folder's own code."""
    config = _read_json(path)
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for hook in ("auto_map", "model_file"):
            if hook in part:
                raise FolderError(
                    f"{path.name!r} asks to run code ({hook}); use a model MLX-LM knows by itself"
                )
    return config


def _read_weights(path: Path, names: set[str]) -> tuple[dict[str, Tensor], bool]:
    """Return the weights that MLX-LM would load, and whether it wrote them itself."""
    tensors: dict[str, Tensor] = {}
    writers = set()
    for name in sorted(n for n in names if n.endswith(".safetensors")):
        try:
            header = read_header(path / name)
        except SafetensorsError as error:
            raise FolderError(
                f"{name!r} is no safetensors file: {error}; check the download"
            ) from error
        if not name.startswith("model"):
            continue  # MLX-LM passes over it
        if twice := tensors.keys() & header.tensors.keys():
            raise FolderError(f"{name!r} holds {min(twice)!r} once more; remove one of the files")
        tensors |= header.tensors
        writers.add(header.metadata.get("format"))
    if not tensors:
        raise FolderError("'model.safetensors' is missing; only models in safetensors are imported")
    _check_index(path / INDEX, names, tensors)
    return tensors, writers == {"mlx"}


def _check_index(index: Path, names: set[str], tensors: dict[str, Tensor]) -> None:
    if index.name not in names:
        return
    parts = _read_json(index).get("weight_map")
    if not isinstance(parts, dict):
        raise FolderError(f"{index.name!r} has no weight_map; check the download")
    for part in sorted(set(map(str, parts.values())) - names):
        raise FolderError(f"{part!r} is missing; the download is not complete")
    for tensor in sorted(parts.keys() - tensors.keys()):
        raise FolderError(f"{parts[tensor]!r} lacks {tensor!r}; the download is not complete")


def _model_type(config: dict[str, Any]) -> str:
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not _MODEL_TYPE.fullmatch(model_type):
        raise FolderError(
            "'config.json' names no model_type; use a model in MLX or Hugging Face form"
        )
    return model_type


def _text_value(config: dict[str, Any], key: str) -> Any:
    """Look `key` up in the config, or in its text part, where multi-modal models keep it."""
    text = config.get("text_config")
    return config.get(key, text.get(key) if isinstance(text, dict) else None)


def _context_length(config: dict[str, Any]) -> int:
    length = _text_value(config, "max_position_embeddings")
    return length if isinstance(length, int) and length > 0 else 0


def _quantization(config: dict[str, Any]) -> dict[str, Any]:
    found = config.get("quantization", config.get("quantization_config"))
    return found if isinstance(found, dict) else {}


def _describe_quantization(config: dict[str, Any]) -> str:
    match _quantization(config):
        case {"bits": int(bits), "group_size": int(group), **rest}:
            return f"{bits}-bit {rest.get('mode', 'affine')}, groups of {group}"
        case {"quant_method": str(method)}:
            return method
    return ""


def _count_parameters(tensors: dict[str, Tensor], config: dict[str, Any]) -> int:
    """Count weights: a packed matrix by its bits, its scales and biases not at all."""
    quantization = _quantization(config)
    total = 0
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        packed = f"{module}.scales" in tensors
        if packed and part in ("scales", "biases"):
            continue
        elements = math.prod(tensor.shape)
        if packed and part == "weight" and tensor.dtype == "U32":
            own = quantization.get(module)
            bits = (own if isinstance(own, dict) else quantization).get("bits")
            elements = elements * 32 // bits if isinstance(bits, int) and bits > 0 else elements
        total += elements
    return total
