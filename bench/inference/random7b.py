"""The GPU's row: a 7B llama shape with random 4-bit weights, served over gRPC.

python -m bench.inference.random7b FOLDER   writes the model alone
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlx_hub.client import Hub as Client

from bench.inference import prompts
from bench.inference.table import Line, Note, median
from bench.serving import stack
from services.stack.starter import starter_gguf

SHAPE = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096,
    "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "vocab_size": 49152,
}  # fmt: skip
TOKENS = 512
ASKED = 20
"""First tokens measured in each round."""


def write(folder: Path) -> None:
    """Write the model: bfloat16 scales, groups of 64, the starter model's tokenizer."""
    from services.runtime.model import prepare  # noqa: PLC0415

    prepare()
    import mlx.core as mx  # noqa: PLC0415  after prepare
    from mlx.nn.layers.quantized import quantize  # noqa: PLC0415
    from mlx.utils import tree_flatten, tree_map  # noqa: PLC0415
    from mlx_lm.models.llama import Model, ModelArgs  # noqa: PLC0415

    mx.random.seed(7)
    starter = folder.with_name("starter")
    convert = [sys.executable, "-m", "services.runtime.convert", str(starter_gguf())]
    subprocess.run([*convert, str(starter)], check=True, stdout=subprocess.DEVNULL)
    model = Model(ModelArgs.from_dict(SHAPE))
    model.update(tree_map(lambda each: (each * 1.0).astype(mx.bfloat16), model.parameters()))
    quantize(model, group_size=64, bits=4)
    mx.eval(model.parameters())
    folder.mkdir()
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    packed = {"group_size": 64, "bits": 4, "mode": "affine"}
    (folder / "config.json").write_text(json.dumps({**SHAPE, "quantization": packed}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(starter / name, folder / name)
    # Random weights never mean to end.
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))


def first_token(rounds: int) -> list[Line | Note]:
    """Import it, serve it, and measure the first token over gRPC at the service."""
    with tempfile.TemporaryDirectory(prefix="mlx-hub-bench-") as name:
        folder = Path(name) / "random-7b"
        subprocess.run([sys.executable, "-m", __name__, str(folder)], check=True)
        with stack(before=("models", "import", str(folder))) as (_, ports):
            waits = _ask(ports, rounds * ASKED)
    line = f"7B 4-bit random weights, {TOKENS}-token prompt, first token at the service, p50"
    p50 = median(waits)
    samples = {"ours": waits}
    return [Line(line, f"{p50:.0f} ms", "", p50, 100, False, unit=" ms", samples=samples)]


def _ask(ports: dict[str, int], count: int) -> list[float]:
    with (
        Client(f"127.0.0.1:{ports['gateway']}") as client,
        Client(f"127.0.0.1:{ports['inference']}") as service,
    ):
        base = next(client.models.base_models())
        model = client.models.create("bench", base.name).id
        waits = []
        for _ in range(count + 2):
            start = time.perf_counter()
            with service.stream(model, prompt=prompts.long(TOKENS), max_tokens=8) as stream:
                # The first frame: the text of a random token may come late, in pieces.
                next(iter(stream))
                waits.append((time.perf_counter() - start) * 1000)
    return waits[2:]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
