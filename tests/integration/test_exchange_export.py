"""Versions taken out: fused folders that answer as base and adapter do, or no folder at all."""

import errno
import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.inference.domain import Adapter
from services.runtime.exchange.order import HeldOut
from services.runtime.folder import inspect_model_folder
from tests.fixtures.exchange import KEYS, Exchange, change_config, dora_adapter
from tests.fixtures.stock import logits
from tests.fixtures.tiny_adapters import checksum, write_adapter
from tests.fixtures.worker import Spawn


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    """Give an adapter that changes every answer."""
    return write_adapter(tmp_path / "adapter", 1, 4, KEYS)


def weaken(adapter: Adapter, factor: float) -> Adapter:
    """Make an adapter's effect smaller."""
    weights = load_file(adapter.path / "adapters.safetensors")
    for name in weights:
        if name.endswith("lora_b"):
            weights[name] *= np.float32(factor)
    save_file(weights, adapter.path / "adapters.safetensors")
    return Adapter(checksum(adapter.path), adapter.path)


def full_version(folder: Path, base: Path) -> Adapter:
    """Write a version of method full: layers' weights, each a little off."""
    random = np.random.default_rng(2)
    stored = load_file(base / "model.safetensors")
    names = [name for name in stored if ".layers." in name and name.endswith("proj.weight")]
    folder.mkdir()
    moved = {n: stored[n] + random.standard_normal(stored[n].shape) * 0.02 for n in names}
    save_file(
        {name: array.astype(np.float32) for name, array in moved.items()},
        folder / "adapters.safetensors",
    )
    (folder / "adapter_config.json").write_text('{"fine_tune_type": "full", "num_layers": 2}')
    return Adapter(checksum(folder), folder)


@pytest.mark.parametrize("method", ["lora", "dora", "full"])
def test_a_fused_folder_answers_as_base_and_adapter(
    exchange: Exchange, adapter: Adapter, tmp_path: Path, method: str
) -> None:
    if method == "dora":
        adapter = dora_adapter(tmp_path / "dora", exchange.base)
    elif method == "full":
        adapter = full_version(tmp_path / "full", exchange.base)
    done = exchange.export("mlx", "out", adapter)
    assert done.code == 0, done.complaint
    parity = done.told["parity"]
    assert parity["effect_lost"] == 0
    assert parity["fused"]["top1_agreement"] == 1
    assert parity["base"]["mean_kl"] > 1e-3, "the adapter does something"
    tuned, fused = logits(exchange.base, adapter.path), logits(tmp_path / "out")
    np.testing.assert_allclose(fused, tuned, atol=1e-4)
    assert np.abs(fused - logits(exchange.base)).max() > 0.01


def test_the_report_tells_what_it_was_made_from(
    exchange: Exchange, adapter: Adapter, tmp_path: Path
) -> None:
    told = exchange.export("mlx", "out", adapter, quantize=8).told
    assert json.loads((tmp_path / "out" / "export.json").read_text()) == told
    assert (told["model"], told["version"], told["job_id"]) == ("bot", 3, 4)
    assert told["adapter_digest"] == adapter.digest
    assert told["base_model"]["digest"] == exchange.digest
    assert (told["quantize"], told["parity"]["compared_on"]) == (8, "fixed prompts")
    assert 0 < told["parity"]["effect_lost"] < 0.2
    listed = {file["name"]: file["sha256"] for file in told["files"]}
    found = inspect_model_folder(tmp_path / "out")
    hashed = {f.name: f.sha256 for f in found.files if f.name != "export.json"}
    assert listed == hashed
    assert found.quantization == "8-bit affine, groups of 64"
    again = exchange.export("mlx", "again", adapter, quantize=8)
    assert again.told == told, "the same version gives the same bytes"


def test_an_exported_folder_can_be_imported(
    exchange: Exchange, adapter: Adapter, tmp_path: Path
) -> None:
    exchange.export("mlx", "out", adapter)
    done = _convert(str(tmp_path / "out"), str(tmp_path / "imported"))
    assert done["is_mlx"]
    assert np.array_equal(logits(tmp_path / "imported"), logits(tmp_path / "out"))


def test_a_weak_adapter_is_not_packed_away_in_silence(exchange: Exchange, adapter: Adapter) -> None:
    weak = weaken(adapter, 0.01)
    done = exchange.export("mlx", "out", weak, quantize=4)
    assert done.code == 2
    assert "0.0% of the adapter's effect survives: mean KL " in done.complaint
    assert (
        "the tolerance is 0.5; pack into 8 bits, or leave it dense, or raise the tolerance"
        in done.complaint
    )
    dense = exchange.export("mlx", "dense", weak)
    assert dense.code == 0, dense.complaint
    bold = exchange.export("mlx", "bold", weak, quantize=4, tolerance=1e6)
    assert bold.code == 0
    assert bold.told["parity"]["effect_lost"] > 1
    assert bold.told["parity"]["effect_kept"] == 0


def test_an_adapter_without_any_effect_has_no_share_to_lose(
    exchange: Exchange, adapter: Adapter
) -> None:
    nothing = weaken(adapter, 0)
    assert exchange.export("mlx", "dense", nothing).told["parity"]["effect_lost"] == 0
    done = exchange.export("mlx", "out", nothing, quantize=8, tolerance=1e6)
    assert done.code == 2
    assert "0.0% of the adapter's effect survives" in done.complaint


@pytest.mark.parametrize("bits", [0, 4])
def test_a_packed_base_is_made_dense_or_packed_again_where_it_was_changed(
    exchange: Exchange, adapter: Adapter, tmp_path: Path, bits: int
) -> None:
    _convert(str(exchange.base), str(tmp_path / "packed"), "--quantize=4")
    base = inspect_model_folder(tmp_path / "packed")
    packed = replace(exchange, base=tmp_path / "packed", digest=base.digest)
    done = packed.export("mlx", "out", adapter, quantize=bits, tolerance=0.9)
    assert done.code == 0, done.complaint
    found = inspect_model_folder(tmp_path / "out")
    assert found.quantization == ("4-bit affine, groups of 64" if bits else "")
    assert (done.told["parity"]["effect_lost"] == 0) == (bits == 0)
    if bits:
        before = load_file(tmp_path / "packed" / "model.safetensors")
        after = load_file(tmp_path / "out" / "model.safetensors")
        same = {name for name in before if np.array_equal(before[name], after[name])}
        changed = {name for name in before if any(key in name for key in KEYS)}
        assert before.keys() == after.keys()
        assert not same & {name for name in changed if name.endswith("weight")}
        assert before.keys() - changed <= same, "no layer is packed twice"
    else:
        tuned = logits(tmp_path / "packed", adapter.path)
        np.testing.assert_allclose(logits(tmp_path / "out"), tuned, atol=1e-3)


def test_a_trained_version_is_compared_on_the_rows_it_held_out(
    exchange: Exchange, spawn_worker: Spawn, tmp_path: Path
) -> None:
    events = list(spawn_worker().events())
    assert events[-1].HasField("finished"), events[-1]
    data = next(tmp_path.glob("*.jsonl"))
    held_out = HeldOut(str(data), data.stem, 3, 0.2, 0.0, mask_prompt=True)
    folder = tmp_path / "job" / "attempt-1"
    trained = Adapter(checksum(folder), folder)
    done = exchange.export("mlx", "out", trained, held_out=held_out)
    assert done.code == 0, done.complaint
    assert done.told["parity"]["compared_on"] == "held-out rows"
    assert done.told["parity"]["samples"] == events[0].started.valid_rows
    np.testing.assert_allclose(logits(tmp_path / "out"), logits(exchange.base, folder), atol=1e-4)
    assert exchange.export("peft", "peft", trained).code == 0
    assert exchange.bring_in(tmp_path / "peft").code == 0
    assert np.array_equal(logits(exchange.base, tmp_path / "in"), logits(exchange.base, folder))
    data.write_bytes(data.read_bytes() + b"\n")
    other = exchange.export("mlx", "other", trained, held_out=held_out)
    assert other.code == 2
    assert "dataset can't be read: the stored dataset no longer has the recorded hash" in (
        other.complaint
    )


@pytest.mark.parametrize("form", ["mlx", "peft"])
@pytest.mark.parametrize("what", ["adapter", "base"])
def test_a_damaged_source_is_refused(
    exchange: Exchange, adapter: Adapter, tmp_path: Path, form: str, what: str
) -> None:
    if what == "adapter":
        change_config(adapter.path, num_layers=1)
        done = exchange.export(form, "out", adapter)
        assert "version 3 are not what was published; run `mlx-hub verify bot:3`" in done.complaint
    else:
        done = replace(exchange, digest="0" * 64).export(form, "out", adapter)
        assert "base model no longer has the recorded hash" in done.complaint
    assert done.code == 2
    assert done.told["failed"]["reason"] == "ARTIFACT_CORRUPT"
    assert not list((tmp_path / "out").iterdir())


def test_peft_s_form_is_refused_where_it_can_t_be_meant(
    exchange: Exchange, adapter: Adapter, tmp_path: Path
) -> None:
    full = full_version(tmp_path / "full", exchange.base)
    done = exchange.export("peft", "out", full)
    assert (done.code, "trained by method full" in done.complaint) == (2, True)
    assert done.told["failed"]["field"] == "format"
    done = exchange.export("peft", "other", adapter, model_type="phixtral")
    assert "what PEFT calls the layers of a phixtral model is not known" in done.complaint


def test_a_full_disk_is_one_line(exchange: Exchange, adapter: Adapter, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        done = exchange.export("mlx", "out", adapter)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.code == 2
    assert len(done.complaint.strip().splitlines()) == 1
    assert "File too large" in done.complaint
    assert done.told == {"failed": {"errno": errno.EFBIG}}


def _convert(*words: str) -> dict[str, Any]:
    argv = [sys.executable, "-m", "services.runtime.convert", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
