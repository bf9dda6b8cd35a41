"""Turning a GGUF file of a small Llama (such as SmolLM2) into an MLX model folder.

MLX reads Q4_0, Q4_1 and Q8_0 blocks straight into its own packed form: no weight is rounded twice.
Scales are widened to float32: with 16-bit scales MLX's CPU product takes seconds for one token.
"""

import json
import re
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from services.runtime.gguf_header import GgufError, GgufHeader, read_gguf_header
from services.runtime.weights import save_weights

_GROUP = 32  # values that share a scale in every GGUF type MLX reads
_CONTROL, _USER_DEFINED = 3, 4  # token types: special, and ordinary text that is never split
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert_gguf(source: Path, folder: Path) -> None:
    """Write the GGUF file `source` as an MLX model into the existing, empty `folder`.

    Raises GgufError unless it is a Llama in F32, F16, Q4_0, Q4_1 or Q8_0 with SmolLM's tokenizer.
    """
    header = read_gguf_header(source)
    _check_supported(header)
    tensors = cast(dict[str, mx.array], mx.load(str(source), format="gguf"))
    weights = _rename(tensors, header)
    _write_json(folder / "config.json", _config(header, weights))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(header))
    _write_json(folder / "generation_config.json", {"eos_token_id": _eos(header)})
    _tokenizer(header).save(str(folder / "tokenizer.json"))
    save_weights(folder / "model.safetensors", weights)


def _check_supported(header: GgufHeader) -> None:
    metadata = header.metadata
    wanted = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
    }
    for key, value in wanted.items():
        if metadata.get(key) != value:
            raise GgufError(
                f"{key} is {metadata.get(key)!r}; only {value!r} is converted, import an MLX folder"
            )
    if metadata.get("llama.rope.scaling.type", "none") != "none":
        raise GgufError("rope scaling is not converted; import an MLX folder")
    embedding = header.tensors.get("token_embd.weight")
    tokens, kinds = (_required(header, f"tokenizer.ggml.{key}") for key in ("tokens", "token_type"))
    if embedding is None or not embedding.shape[0] == len(tokens) == len(kinds):
        raise GgufError("malformed GGUF file: its vocabulary and its embedding differ in size")


def _required(header: GgufHeader, key: str) -> Any:
    if key not in header.metadata:
        raise GgufError(f"malformed GGUF file: {key} is missing")
    return header.metadata[key]


def _rename(tensors: dict[str, mx.array], header: GgufHeader) -> dict[str, mx.array]:
    """Give tensors MLX-LM's names and layout, and widen their floats to float32."""
    heads = {
        "attn_q": _required(header, "llama.attention.head_count"),
        "attn_k": _required(header, "llama.attention.head_count_kv"),
    }
    renamed = {}
    for name, array in tensors.items():
        match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|scales|biases)", name)
        layer, module, part = match.groups() if match else (None, "", "")
        target = _TOP.get(module) if layer is None else _LAYER.get(module)
        if target is None:
            raise GgufError(f"tensor {name!r} is not part of a plain Llama; import an MLX folder")
        rows = _split_halves(array, heads[module]) if module in heads else array
        wide = rows.astype(mx.float32) if rows.dtype == mx.float16 else rows
        prefix = "" if layer is None else f"model.layers.{layer}."
        renamed[f"{prefix}{target}.{part}"] = wide
    return renamed


def _split_halves(rows: mx.array, heads: int) -> mx.array:
    """Undo GGUF's interleaving of rotary pairs: (heads * d, ...) in the same shape, rows reordered.

    Groups of packed values lie along a row, so whole rows move and nothing is unpacked.
    """
    if heads <= 0 or rows.shape[0] % (2 * heads):
        raise GgufError("malformed GGUF file: attention rows do not divide into heads")
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _config(header: GgufHeader, weights: dict[str, mx.array]) -> dict[str, Any]:
    """Return MLX-LM's config.json: the architecture, and how each packed module is packed."""
    bits = {
        name.removesuffix(".scales"): weights[name.removesuffix("scales") + "weight"].shape[1]
        * 32
        // (scales.shape[1] * _GROUP)
        for name, scales in weights.items()
        if name.endswith(".scales")
    }
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": _required(header, "llama.embedding_length"),
        "intermediate_size": _required(header, "llama.feed_forward_length"),
        "num_hidden_layers": _required(header, "llama.block_count"),
        "num_attention_heads": _required(header, "llama.attention.head_count"),
        "num_key_value_heads": _required(header, "llama.attention.head_count_kv"),
        "max_position_embeddings": _required(header, "llama.context_length"),
        "rms_norm_eps": _required(header, "llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": _required(header, "llama.rope.freq_base"),
        "vocab_size": len(_required(header, "tokenizer.ggml.tokens")),
        "bos_token_id": _required(header, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": _eos(header),
        "tie_word_embeddings": "lm_head.weight" not in weights,
        "torch_dtype": "float32",
    }
    if bits:
        usual = min(bits.values())
        own = {name: _packing(width) for name, width in sorted(bits.items()) if width != usual}
        config["quantization"] = _packing(usual) | own
    return config


def _packing(bits: int) -> dict[str, Any]:
    return {"group_size": _GROUP, "bits": bits, "mode": "affine"}


def _eos(header: GgufHeader) -> int:
    return int(_required(header, "tokenizer.ggml.eos_token_id"))


def _tokenizer(header: GgufHeader) -> Tokenizer:
    """Build SmolLM's byte-level BPE: digits stand alone, special tokens are never split."""
    tokens: list[str] = _required(header, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in _required(header, "tokenizer.ggml.merges")]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    try:
        tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise GgufError("malformed GGUF file: its merges do not fit its vocabulary") from error
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, _required(header, "tokenizer.ggml.token_type"), strict=True)
    tokenizer.add_tokens(
        [
            AddedToken(token, special=kind == _CONTROL, normalized=False)
            for token, kind in kinds
            if kind in (_CONTROL, _USER_DEFINED)
        ]
    )
    return tokenizer


def _tokenizer_config(header: GgufHeader) -> dict[str, Any]:
    tokens = _required(header, "tokenizer.ggml.tokens")
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": _required(header, "llama.context_length"),
        "clean_up_tokenization_spaces": False,
    }
    for role, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        index = header.metadata.get(f"tokenizer.ggml.{key}_token_id")
        if index is not None:
            if not 0 <= index < len(tokens):
                raise GgufError(f"malformed GGUF file: its {key} token is not in its vocabulary")
            config[f"{role}_token"] = tokens[index]
    template = header.metadata.get("tokenizer.chat_template")
    return config | ({"chat_template": template} if template else {})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
