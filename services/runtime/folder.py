"""Looking into a base model's folder without loading it: plain Python, no MLX.

An MLX model folder is flat: config.json, tokenizer.json, *.safetensors and small text files.
Anything that could run code when read (Python, pickles, remote-code hooks) is refused, and so is
anything unexpected.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.runtime.safetensors import SafetensorsError, Tensor, read_header

_MAX_JSON_BYTES = 64 << 20
_SUFFIXES = {".safetensors", ".json", ".jsonl", ".jinja", ".txt", ".md", ".model", ".tiktoken"}
_BARE_NAMES = {"LICENSE", "NOTICE"}
_MODEL_TYPE = re.compile(r"[A-Za-z0-9_-]{1,64}")


class FolderError(ValueError):
    """The folder is no usable MLX model; the message names the file and the remedy, not a path."""


@dataclass(frozen=True)
class FileDigest:
    """One file of the folder: its name, its size in bytes and its SHA-256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder holds.

    `parameters` counts weights (packed ones unpacked, scales not counted), `size_bytes` all files;
    `context_length` is in tokens, 0 if the model does not state one; `quantization` reads like
    "4-bit affine, groups of 32", empty if dense. Without a chat template the model takes plain
    prompts only. `files` and `digest` are empty if the files were not hashed.
    """

    model_type: str
    parameters: int
    size_bytes: int
    context_length: int
    quantization: str
    has_chat_template: bool
    files: tuple[FileDigest, ...] = ()
    digest: str = ""


def inspect_model_folder(path: Path, *, hash_files: bool = True) -> ModelFolder:
    """Validate the MLX model folder at `path` and describe it; read every byte if `hash_files`.

    Raises FolderError for a missing folder, a file that does not belong there, a link out of it,
    remote-code hooks in its configuration, malformed or missing weights, config or tokenizer.
    """
    if not path.is_dir():
        raise FolderError(f"{path.name!r} is not a folder; give the folder that holds config.json")
    for required in ("config.json", "tokenizer.json"):
        if not (path / required).is_file():
            raise FolderError(f"{required!r} is missing; give a complete MLX model folder")
    paths = list_files(path)
    names = {file.name for file in paths}
    config = _read_config(path / "config.json")
    tokenizer = (
        _read_config(path / "tokenizer_config.json") if "tokenizer_config.json" in names else {}
    )
    tensors = _read_weights(path, names)
    files = tuple(_hash(file) for file in paths) if hash_files else ()
    return ModelFolder(
        model_type=_model_type(config),
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
        if entry.suffix not in _SUFFIXES and entry.name not in _BARE_NAMES:
            raise FolderError(
                f"{entry.name!r} does not belong in an MLX model folder "
                "(code, pickles and archives are never loaded); move it away"
            )
        files.append(entry)
    return files


def hash_folder(path: Path) -> tuple[FileDigest, ...]:
    """Hash what `list_files` lists, whatever it holds."""
    return tuple(map(_hash, list_files(path)))


def digest_of(files: tuple[FileDigest, ...]) -> str:
    """Return one SHA-256 in hex over all files: over "name\\0size\\0sha256\\n" each, by name."""
    lines = (f"{f.name}\0{f.size}\0{f.sha256}\n" for f in sorted(files, key=lambda f: f.name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hash(path: Path) -> FileDigest:
    with path.open("rb") as file:
        return FileDigest(
            path.name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
        )


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
    for hook in ("auto_map", "model_file"):
        if hook in config:
            raise FolderError(
                f"{path.name!r} asks to run code ({hook}); use a model MLX-LM knows by itself"
            )
    return config


def _read_weights(path: Path, names: set[str]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name in sorted(n for n in names if n.endswith(".safetensors")):
        try:
            tensors |= read_header(path / name)
        except SafetensorsError as error:
            raise FolderError(
                f"{name!r} is no safetensors file: {error}; check the download"
            ) from error
    # MLX-LM loads only files of this name.
    if not any(n.startswith("model") and n.endswith(".safetensors") for n in names) or not tensors:
        raise FolderError("'model.safetensors' is missing; convert the model to MLX first")
    if "model.safetensors.index.json" in names:
        parts = _read_json(path / "model.safetensors.index.json").get("weight_map")
        for part in (
            sorted(set(map(str, parts.values())) - names) if isinstance(parts, dict) else []
        ):
            raise FolderError(f"{part!r} is missing; the download is not complete")
    return tensors


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
