"""What a job finds out about its version: the numbers are mlx-lm's, and no trained byte changes."""

import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlx.utils import tree_map
from mlx_hub.internal.v1 import worker_pb2 as pb
from mlx_hub.registry.v1 import evaluation_pb2
from mlx_hub.trainer.v1 import training_event_pb2 as event_pb

from services.runtime.rows import Side, Split, read_rows
from tests.fixtures.evaluator import MakeEvaluator
from tests.fixtures.worker import Child, Spawn

BASE, VERSION = event_pb.EVALUATED_WEIGHTS_BASE, event_pb.EVALUATED_WEIGHTS_VERSION
VALID, TEST = evaluation_pb2.EVALUATION_SPLIT_VALID, evaluation_pb2.EVALUATION_SPLIT_TEST
WANTED: dict[str, Any] = {"evaluate": True, "samples": 2, "sample_tokens": 8}
HELD_OUT: dict[str, Any] = {**WANTED, "validation_fraction": 0.2, "test_fraction": 0.3}
# mlx-lm's own loader, datasets and loss, each row alone; then its own greedy answers.
PEER = """
import json, sys
from types import SimpleNamespace as Config
from services.runtime.model import prepare; prepare()
import mlx.core as mx
from mlx_lm.generate import generate
from mlx_lm.tuner.datasets import ChatDataset
from mlx_lm.tuner.trainer import default_loss
from mlx_lm.utils import load
base, adapter, rows = sys.argv[1], sys.argv[2] or None, json.loads(sys.argv[3])
model, tokenizer = load(base, adapter_path=adapter)
model.eval()
total = count = 0
for item in map(ChatDataset(rows, tokenizer, mask_prompt=True).process, rows):
    tokens, offset = item
    loss, n = default_loss(model, mx.array([tokens]), mx.array([[offset, len(tokens)]]))
    total, count = total + loss.item() * n.item(), count + n.item()
asked = [tokenizer.apply_chat_template(row["messages"][:1], add_generation_prompt=True)
         for row in rows]
print(json.dumps([total / count, count,
                  [generate(model, tokenizer, prompt, max_tokens=8) for prompt in asked]]))
"""


def end(child: Child) -> tuple[list[pb.WorkerEvent], pb.WorkerFinished]:
    """Read to the end; give all events and what was told last."""
    events = list(child.events())
    assert events[-1].HasField("finished"), events[-1]
    return events, events[-1].finished


def peer(base: Path, adapter: Path | None, rows: list[dict[str, Any]]) -> tuple[float, int, Any]:
    arguments = [str(base), str(adapter or ""), json.dumps(rows)]
    done = subprocess.run(
        [sys.executable, "-c", PEER, *arguments], check=True, capture_output=True, text=True
    )
    loss, tokens, answers = json.loads(done.stdout.splitlines()[-1])
    return loss, tokens, answers


def rows_of(folder: Path, side: Side, **fractions: float) -> list[dict[str, Any]]:
    [data] = folder.glob("*.jsonl")
    split = Split(3, fractions["validation_fraction"], fractions.get("test_fraction", 0))
    return [r.content for r in read_rows(data, data.stem) if split.side(r.digest) is side]


@pytest.mark.parametrize(("fractions", "split"), [({}, VALID), ({"test_fraction": 0.3}, TEST)])
def test_the_numbers_are_those_of_mlx_lm(
    spawn_worker: Spawn, tmp_path: Path, tiny_model: Path, fractions: Any, split: int
) -> None:
    held_out = {"validation_fraction": 0.2, **fractions}
    events, finished = end(spawn_worker(**WANTED, **held_out))
    base, version = finished.evaluations
    assert [event.evaluation for event in events if event.HasField("evaluation")] == [base, version]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds.index("evaluation") < kinds.index("step")
    assert kinds[-2:] == ["evaluation", "finished"]
    rows = rows_of(tmp_path, Side.TEST if split == TEST else Side.VALID, **held_out)
    for which, told, adapter in (
        (BASE, base, None),
        (VERSION, version, tmp_path / "job" / "attempt-1"),
    ):
        loss, tokens, answers = peer(tiny_model, adapter, rows)
        assert (told.which, told.split) == (which, split)
        assert (told.rows, told.held_out_rows, told.tokens) == (len(rows), len(rows), tokens)
        assert told.loss == pytest.approx(loss, rel=1e-5)
        assert told.perplexity == pytest.approx(math.exp(loss), rel=1e-4)
        shown = {
            sample.turns[0].content: (sample.base if which == BASE else sample.version).text
            for sample in finished.samples
        }
        assert len(shown) == 2
        asked = [row["messages"][0]["content"] for row in rows]
        written = dict(zip(asked, answers, strict=True))
        assert shown == {prompt: written[prompt].replace("\0", "\ufffd") for prompt in shown}


METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "qlora": {"quantize_bits": 4, "grad_checkpoint": True},
    "dora": {"method": "TRAINING_METHOD_DORA"},
    "full": {"method": "TRAINING_METHOD_FULL", "lora_layers": 1, "learning_rate": 0.01},
}


@pytest.mark.parametrize("name", METHODS)
def test_nothing_trained_changes_and_a_killed_job_tells_the_same(
    spawn_worker: Spawn, name: str
) -> None:
    method = METHODS[name]
    held_out = HELD_OUT | {"test_fraction": 0}
    _, plain = end(spawn_worker(folder="plain", **method))
    _, straight = end(spawn_worker(folder="straight", **held_out, **method))
    assert list(plain.files) == list(straight.files)
    assert not plain.evaluations and not plain.samples

    killed = spawn_worker(folder="killed", hold=5, **held_out, **method)
    killed.until_step(5)
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()
    events, resumed = end(spawn_worker(folder="killed", **held_out, **method))
    assert events[0].started.resumed_from_step == 4
    told = [event.evaluation.which for event in events if event.HasField("evaluation")]
    assert told == [VERSION], "the base is asked once in a job"
    assert resumed == straight
    base, version = resumed.evaluations
    assert version.loss < base.loss


def test_a_damaged_note_of_the_base_starts_the_job_over(
    spawn_worker: Spawn, tmp_path: Path
) -> None:
    _, first = end(spawn_worker(**HELD_OUT))
    kept = tmp_path / "job" / "checkpoints" / "base.json"
    kept.write_text(kept.read_text()[:-2])
    events, again = end(spawn_worker(**HELD_OUT))
    assert events[0].started.resumed_from_step == 0
    assert again == first
    events, _ = end(spawn_worker(**HELD_OUT))
    assert events[0].started.resumed_from_step == first.metrics["steps"]


def test_given_prompts_are_answered_in_their_order(spawn_worker: Spawn) -> None:
    asked = {"samples": 2, "sample_prompts": ["b", "a\0"], "sample_tokens": 3}
    _, finished = end(spawn_worker(validation_fraction=0, **asked))
    assert [[(t.role, t.content) for t in s.turns] for s in finished.samples] == [
        [("user", "b")],
        [("user", "a\ufffd")],
    ]
    assert {sample.base.tokens for sample in finished.samples} == {3}
    assert all(sample.base.cut for sample in finished.samples)
    assert not finished.evaluations
    texts = [{"text": f"count {n} " * 4} for n in range(8)]
    asked = {"samples": 1, "sample_prompts": ["count"], "mask_prompt": False}
    _, finished = end(spawn_worker(texts, sample_tokens=3, **asked))
    assert [(turn.role, turn.content) for turn in finished.samples[0].turns] == [("", "count")]


def test_a_prompt_that_does_not_fit_is_refused_before_the_first_step(spawn_worker: Spawn) -> None:
    asked = {"samples": 2, "sample_prompts": ["a", "b" * 200], "sample_tokens": 3}
    *before, last = spawn_worker(**asked).events()
    assert last.failed.reason == "UNTRAINABLE"
    assert "prompt 2 of sample_prompts has " in last.failed.message
    assert "max_seq_length is 128" in last.failed.message
    assert not before


def test_of_many_rows_a_fair_choice_is_scored(
    make_evaluator: MakeEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.trainer.worker import evaluation  # noqa: PLC0415  it imports MLX

    monkeypatch.setattr(evaluation, "EVALUATED_ROWS", 3)
    evaluator, link = make_evaluator()
    evaluator.before(link)
    [told] = link.told
    assert (told.rows, told.held_out_rows) == (3, 7)
    rows = evaluator._held_out
    lines = {tuple(sorted(r.line for r in evaluation.chosen(rows, seed))) for seed in range(9)}
    assert len(lines) > 1
    assert evaluation.chosen(rows[::-1], 4) == evaluation.chosen(rows, 4)


def test_a_stop_ends_it_between_two_batches_and_two_tokens(make_evaluator: MakeEvaluator) -> None:
    evaluator, link = make_evaluator()
    evaluator.before(link)
    polls, kept = link.polls, evaluator._kept._path
    assert polls >= 4 + evaluator._trainer.recipe.sample_tokens
    assert kept.exists()
    for allowed in range(polls):
        evaluator, link = make_evaluator(folder=f"stop-{allowed}", allowed=allowed)
        with pytest.raises(Exception, match="stopped after step 0"):
            evaluator.before(link)
        assert not evaluator._kept._path.exists()
        assert not link.told
        link.allowed = polls
        link.polls = 0
        evaluator.before(link)
        assert evaluator.base is not None
        with pytest.raises(Exception, match="stopped after step 0"):
            evaluator.after(link)


def test_the_same_rows_and_weights_are_scored_once(make_evaluator: MakeEvaluator) -> None:
    evaluator, link = make_evaluator()
    trainer, rows = evaluator._trainer, evaluator._rows
    first = trainer.score(rows, link)
    polls = link.polls
    assert trainer.score(list(rows), link) == first
    assert link.polls == polls
    assert trainer.score(rows[1:], link) != first
    trainer.score(rows, link)
    polls = link.polls
    weights = trainer.model.trainable_parameters()
    trainer.model.update(tree_map(lambda array: array + 0.1, weights))
    assert trainer.score(rows, link) != first
    assert link.polls == polls + 4
