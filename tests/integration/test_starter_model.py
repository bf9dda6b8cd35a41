"""The starter model, imported for real: the right numbers, the right tokens, the right words."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.runtime.batches import epoch_batches
from services.runtime.encoding import Encoder
from services.runtime.model import load_tokenizer, prepare
from services.runtime.rows import read_rows

EXAMPLE = Path(__file__).parents[2] / "examples" / "ticket-triage.jsonl"
PASSAGE = (
    "Water boils at one hundred degrees Celsius at sea level. On a high mountain the air pressure "
    "is lower, so water boils at a lower temperature and food takes longer to cook."
)

CHILD = """
import json, resource, sys
from pathlib import Path
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
from services.runtime.model import load_base, on_cpu, prepare
prepare()
import mlx.core as mx
import mlx.nn as nn
from mlx_lm import stream_generate
model, tokenizer, config = load_base(Path(sys.argv[1]))
chat = [{"role": "user", "content": "What is the capital of France?"}]
prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True)
answer = "".join(r.text for r in stream_generate(model, tokenizer, prompt, max_tokens=16))
ids = tokenizer.encode(sys.argv[2])
tokens = mx.array([ids])
logits = model(tokens[:, :-1])
print(json.dumps({
    "answer": answer,
    "prompt": tokenizer.decode(prompt),
    "ids": ids,
    "back": tokenizer.decode(ids),
    "digits": tokenizer.encode("4096"),
    "special": tokenizer.encode("<|im_start|><|im_end|>"),
    "loss": nn.losses.cross_entropy(logits, tokens[:, 1:], reduction="mean").item(),
    "cpu": on_cpu(),
    "dtypes": sorted({str(v.dtype) for _, v in nn.utils.tree_flatten(model.parameters())}),
    "open_files_kept": resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(limits[0], 4096),
}))
"""


def convert(source: Path, dest: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.runtime.convert", str(source), str(dest)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def described(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def imported(
    starter_gguf: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("models") / "starter"
    done = convert(starter_gguf, folder)
    assert done.returncode == 0, done.stderr
    return folder, described(done)


@pytest.fixture(scope="module")
def answers(imported: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    command = [sys.executable, "-c", CHILD, str(imported[0]), PASSAGE]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_import_reports_the_model(imported: tuple[Path, dict[str, Any]]) -> None:
    folder, report = imported
    assert report["parameters"] == 134_515_008
    assert report["context_length"] == 8192
    assert report["quantization"] == "4-bit affine, groups of 32"
    assert report["has_chat_template"]
    assert {file["name"] for file in report["files"]} == {p.name for p in folder.iterdir()}


def test_a_folder_is_copied_to_the_same_digest(
    imported: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, report = imported
    done = convert(folder, tmp_path / "copy")
    assert described(done) == report


def test_answers(answers: dict[str, Any]) -> None:
    assert answers["answer"] == "The capital of France is Paris."
    assert answers["prompt"].endswith("<|im_start|>assistant\n")


def test_tokens(answers: dict[str, Any]) -> None:
    assert answers["ids"][:8] == [12615, 36411, 418, 582, 3822, 5027, 20590, 418]
    assert answers["back"] == PASSAGE
    assert len(answers["digits"]) == 4
    assert answers["special"] == [1, 2]


def test_attention_rows_are_in_mlx_order(answers: dict[str, Any]) -> None:
    """Measured 3.17; left in GGUF's order it is 4.27, and the answer above still says Paris."""
    assert answers["loss"] < 3.4


def test_a_cpu_gets_dense_float32(answers: dict[str, Any]) -> None:
    assert answers["open_files_kept"]
    if answers["cpu"]:
        assert answers["dtypes"] == ["mlx.core.float32"]


@pytest.mark.parametrize("size", [2, 3, 4, 8, 16])
def test_padding_is_under_a_twentieth_on_the_example(
    imported: tuple[Path, dict[str, Any]], size: int
) -> None:
    prepare()
    encoder = Encoder(load_tokenizer(imported[0]), mask_prompt=True, max_length=512)
    rows = read_rows(EXAMPLE, hashlib.sha256(EXAMPLE.read_bytes()).hexdigest())
    lengths = [len(encoder.encode(row).tokens) for row in rows]
    for seed in range(5):
        batches = epoch_batches(lengths, size, seed, epoch=0)
        padded = sum(max(lengths[n] for n in batch) * len(batch) for batch in batches)
        assert 1 - sum(lengths) / padded < 0.05


def test_bad_input_is_one_line_and_leaves_nothing(
    imported: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in imported[0].iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "hidden_size": 512}))
    (tmp_path / "no.gguf").write_bytes(b"GGUF")
    for source in (broken, tmp_path / "no.gguf", tmp_path / "gone"):
        done = convert(source, tmp_path / "models" / "out")
        assert done.returncode == 2
        assert "{" not in done.stdout
        assert done.stderr.count("\n") == 1
        assert str(tmp_path) not in done.stderr
    assert list((tmp_path / "models").iterdir()) == []
