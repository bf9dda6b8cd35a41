"""Adapters of embeddings, heads and experts brought in, taken out and fused, in this process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.inference.domain import Adapter
from services.runtime.exchange import peft
from services.runtime.exchange.layout import AdapterError
from services.runtime.folder import inspect_model_folder
from services.runtime.model import load_lazily, prepare
from tests.fixtures.exchange import Exchange, change_config
from tests.fixtures.tiny_adapters import checksum
from tests.fixtures.tiny_kinds import EMBEDDING, EXPERTS, adapter_of, write_model
from tests.integration.test_inference_adapters import changed

TOKENS = [[5, 9, 70, 200, 33]]


def bring_in(source: Path, base: Path, dest: Path) -> Adapter:
    prepare()
    from services.runtime.exchange import bring_in  # noqa: PLC0415

    digest = inspect_model_folder(base).digest
    bring_in.bring_in(source, base, digest, dest, lambda step: None)
    return Adapter(checksum(dest), dest)


def take_out(base: Path, adapter: Adapter, dest: Path, kind: str = "llama") -> Path:
    prepare()
    from services.runtime.exchange import export  # noqa: PLC0415

    dest.mkdir()
    digest = inspect_model_folder(base).digest
    order = Exchange(base, digest, dest.parent).order(adapter, model_type=kind)
    export.export_peft(order, dest, adapter.path, lambda step: None)
    return dest


def logits(base: Path, adapter: Path | None = None) -> Any:
    import mlx.core as mx  # noqa: PLC0415
    from mlx_lm.tuner.utils import load_adapters  # noqa: PLC0415

    model, _ = load_lazily(base)
    if adapter:
        load_adapters(model, str(adapter))
    model.eval()
    return np.array(model(mx.array(TOKENS)))


def test_one_of_experts_embedding_and_head_comes_in_and_is_fused(
    tiny_model: Path, tmp_path: Path
) -> None:
    base = write_model(tiny_model, tmp_path / "base", "qwen3_moe")
    adapter = adapter_of(base, tmp_path / "adapter", (*EXPERTS, EMBEDDING, "lm_head", "mlp.gate"))
    mine = logits(base, adapter.path)
    assert np.abs(mine - logits(base)).max() > 0.1
    found = bring_in(adapter.path, base, tmp_path / "in")
    assert np.array_equal(logits(base, found.path), mine)
    before, after = (load_file(a.path / "adapters.safetensors") for a in (adapter, found))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    from services.runtime.exchange.fuse import fuse  # noqa: PLC0415

    (tmp_path / "fused").mkdir()
    fuse(base, found.path, tmp_path / "fused", 0)
    np.testing.assert_allclose(logits(tmp_path / "fused"), mine, atol=1e-4)
    alone = adapter_of(base, tmp_path / "alone", (EMBEDDING,))
    found = bring_in(alone.path, base, tmp_path / "alone.in")
    assert np.array_equal(logits(base, found.path), logits(base, alone.path))


def test_an_embedding_goes_to_peft_and_back_where_it_is_no_head(
    tiny_model: Path, tmp_path: Path
) -> None:
    base = write_model(tiny_model, tmp_path / "base", "llama")
    keys = (EMBEDDING, "lm_head", "self_attn.q_proj")
    adapter = adapter_of(base, tmp_path / "adapter", keys)
    out = take_out(base, adapter, tmp_path / "out")
    stored = load_file(out / peft.WEIGHTS)
    mlx = load_file(adapter.path / "adapters.safetensors")
    a = stored["base_model.model.model.embed_tokens.lora_embedding_A"]
    b = stored["base_model.model.model.embed_tokens.lora_embedding_B"]
    assert (a.shape, b.shape) == ((4, 259), (64, 4))
    # PEFT: weight + scale * (B @ A)ᵀ; mlx-lm: weight + scale * a @ b.
    np.testing.assert_allclose(
        (b @ a).T, mlx[f"{EMBEDDING}.lora_a"] @ mlx[f"{EMBEDDING}.lora_b"], atol=1e-5
    )
    found = bring_in(out, base, tmp_path / "in")
    assert np.array_equal(logits(base, found.path), logits(base, adapter.path))
    # PEFT saves the embedding itself beside it, unless it is told not to.
    own = load_file(base / "model.safetensors")[f"{EMBEDDING}.weight"]
    copy = {f"base_model.model.{EMBEDDING}.base_layer.weight": own}
    save_file({**stored, **copy}, out / peft.WEIGHTS)
    again = bring_in(out, base, tmp_path / "again")
    assert again.digest == found.digest
    own[3, 3] += 1
    save_file({**stored, **copy}, out / peft.WEIGHTS)
    with pytest.raises(AdapterError, match=r"embed_tokens\.base_layer.* not what the base model"):
        bring_in(out, base, tmp_path / "other")


def test_what_the_forms_mean_differently_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    tied = adapter_of(tiny_model, tmp_path / "tied", (EMBEDDING,))
    with pytest.raises(AdapterError, match=r"'model\.embed_tokens' is its head as well"):
        take_out(tiny_model, tied, tmp_path / "out")
    bring_in(tied.path, tiny_model, tmp_path / "in")
    base = write_model(tiny_model, tmp_path / "base", "llama")
    dora = adapter_of(base, tmp_path / "dora", (EMBEDDING,), dora=True)
    with pytest.raises(AdapterError, match="magnitude of each token in mlx-lm"):
        take_out(base, dora, tmp_path / "out.dora")
    found = bring_in(dora.path, base, tmp_path / "dora.in")
    assert np.array_equal(logits(base, found.path), logits(base, dora.path))
    head = adapter_of(base, tmp_path / "head", ("lm_head",))
    with pytest.raises(AdapterError, match="has no layer 'lm_head'"):
        bring_in(head.path, tiny_model, tmp_path / "elsewhere")


def test_dora_of_experts_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    base = write_model(tiny_model, tmp_path / "base", "olmoe")
    adapter = adapter_of(base, tmp_path / "adapter", EXPERTS[:1])
    weights = load_file(adapter.path / "adapters.safetensors")
    for name in [name for name in weights if name.endswith("lora_a")]:
        weights[name.replace("lora_a", "m")] = np.ones(128, np.float32)

    change_config(adapter.path, fine_tune_type="dora")
    with pytest.raises(AdapterError, match="experts, for which there is no DoRA"):
        bring_in(changed(adapter, **weights).path, base, tmp_path / "in")
