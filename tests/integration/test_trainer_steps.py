"""What a step computes, beside slow references: loss, gradient, and the rows it takes."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.nn.layers.quantized import QuantizedEmbedding, QuantizedLinear
from mlx.nn.losses import cross_entropy
from mlx.utils import tree_flatten, tree_map
from mlx_lm.models import llama

from services.runtime import packed
from services.runtime.model import load_lazily
from services.trainer.recipe import Method, Recipe
from services.trainer.worker.data import Batch
from services.trainer.worker.failures import TrainingFailed
from services.trainer.worker.guards import NO_HOOKS
from services.trainer.worker.methods import prepare
from services.trainer.worker.objective import Objective, arrays
from tests.fixtures.tiny_kinds import write_model
from tests.fixtures.trained import MakeTrainer, Silent


def shaken(trainer: Any) -> Any:
    """Move all that is trained off its first value: zeros hide half of a gradient."""
    mx.random.seed(5)
    moved = tree_map(
        lambda a: a + 0.1 * mx.random.normal(a.shape), trainer.model.trainable_parameters()
    )
    trainer.model.update(moved)
    return trainer


def gradient(trainer: Any, batches: list[Any]) -> tuple[float, dict[str, np.ndarray[Any, Any]]]:
    """Give a step's loss and gradient."""
    tokens = sum(int(batch.trained[:, 1:].sum()) for batch in batches)
    loss, found = trainer._accumulate(batches, tokens, Silent())
    arrays: Any = tree_flatten(found)
    return loss.item(), {name: np.array(array) for name, array in arrays}


def steps(trainer: Any) -> Iterator[list[Any]]:
    """Give every step's batches."""
    return iter(trainer._steps_left())


def differs(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Give the largest difference of two gradients, relative to the largest entry."""
    assert set(one) == set(other)
    size = max(float(np.abs(array).max()) for array in one.values())
    return max(float(np.abs(one[name] - other[name]).max()) for name in one) / size


def test_the_loss_is_the_mean_over_the_tokens_of_every_answer(make_trainer: MakeTrainer) -> None:
    trainer = shaken(make_trainer(rows=4))
    examples = trainer._train
    [batches] = steps(trainer)
    total, count, turns = 0.0, 0, []
    for example in examples:
        # One row alone, each token's logits from all of the vocabulary.
        logits = np.array(plain_logits(trainer, example.tokens)).astype(np.float64)
        turns.append(int((np.diff(example.trained.astype(int)) == 1).sum()))
        for at in range(1, len(example.tokens)):
            if example.trained[at]:
                row = logits[at - 1]
                total += np.log(np.exp(row - row.max()).sum()) + row.max() - row[example.tokens[at]]
                count += 1
    assert turns == [2, 2, 2, 2]
    assert gradient(trainer, batches)[0] == pytest.approx(total / count, rel=1e-5)


def plain_logits(trainer: Any, tokens: Any) -> mx.array:
    """Compute all logits of a row, past the objective."""
    hidden = trainer.model.model(mx.array(tokens[None]))
    logits: mx.array = hidden @ trainer.model.model.embed_tokens.weight.T
    return logits[0]


def test_a_head_that_is_not_found_costs_time_only(make_trainer: MakeTrainer) -> None:
    trainer = shaken(make_trainer(rows=4))
    [batches] = steps(trainer)
    loss, found = gradient(trainer, batches)
    trainer.model.model.embed_tokens.__class__ = type(trainer.model.model.embed_tokens).__base__
    again, whole = gradient(trainer, batches)
    assert again == pytest.approx(loss, rel=1e-5)
    assert differs(found, whole) < 1e-5


def test_a_head_of_its_own_computes_trained_positions_only() -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16, "vocab_size": 50}
    rest = {"model_type": "llama", "num_attention_heads": 2, "rms_norm_eps": 1e-5}
    args: dict[str, Any] = {**shape, **rest}
    model = llama.Model(llama.ModelArgs(**args, tie_word_embeddings=False))
    tokens, trained = np.arange(12, dtype=np.int32).reshape(2, 6), np.zeros((2, 6), np.bool_)
    trained[0, 2:4] = trained[1, 5] = True
    batch = arrays(Batch((1, 2), tokens, trained))
    logits = model(batch[0]).reshape(-1, 50)[mx.array([1, 2, 9])]
    expected = cross_entropy(logits, mx.array([2, 3, 11])).mean()
    objective = Objective(model)
    loss = objective(model, *batch, mx.array(3), mx.random.key(0))
    hidden = batch[0][..., None] * mx.ones(16)
    assert model.lm_head(hidden).shape == (1, 3, 50)
    with objective.aside():
        assert model.lm_head(hidden).shape == (2, 5, 50)
    assert model.lm_head(hidden).shape == (1, 3, 50)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_accumulated_batches_weigh_as_one(make_trainer: MakeTrainer) -> None:
    one = shaken(make_trainer(rows=12, batch_size=12))
    parts = shaken(make_trainer(rows=12, batch_size=3, grad_accumulation=4))
    [whole], [split] = steps(one), steps(parts)
    assert (len(whole), len(split)) == (1, 4)
    loss, found = gradient(one, whole)
    again, summed = gradient(parts, split)
    assert again == pytest.approx(loss, rel=1e-5)
    assert differs(found, summed) < 1e-5


def test_every_row_is_trained_once_an_epoch_the_left_over_too(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(rows=11, batch_size=2, grad_accumulation=4, epochs=2)
    taken = list(steps(trainer))
    assert trainer.total_steps == len(taken) == 4
    assert [len(step) for step in taken] == [4, 2, 4, 2]
    lines = Counter(line for step in taken for batch in step for line in batch.lines)
    assert lines == dict.fromkeys(range(11), 2)
    trainer.run(Silent(), lambda: None)
    assert trainer.state.step == 4
    assert trainer.state.trained_tokens == 2 * sum(e.trained_tokens for e in trainer._train)


@pytest.mark.parametrize("fields", [{"lora_dropout": 0.3}, {"method": "full"}])
def test_layers_computed_twice_give_the_same_gradient(
    make_trainer: MakeTrainer, fields: dict[str, Any]
) -> None:
    kept, again = (
        shaken(make_trainer(rows=4, grad_checkpoint=twice, **fields)) for twice in (False, True)
    )
    [batches] = steps(kept)
    assert again.model.layers[0].__class__.__call__.__name__ == "checkpointed_fn"
    (loss, found), (other, recomputed) = gradient(kept, batches), gradient(again, batches)
    assert other == loss
    assert differs(found, recomputed) < 1e-6


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_dense_products_train_what_quantised_ones_would(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(packed, "PIECE", 64 * 100)
    dense = shaken(make_trainer(rows=4, method=method, quantize_bits=4))
    monkeypatch.setattr(packed, "compute_dense", lambda model: None)
    stock = shaken(make_trainer(rows=4, method=method, quantize_bits=4))
    kinds = {type(module) for _, module in stock.model.named_modules()}
    assert {kind.__mro__[1] for kind in kinds} >= {QuantizedEmbedding} and QuantizedLinear in kinds
    [batches] = steps(dense)
    (loss, found), (other, expected) = gradient(dense, batches), gradient(stock, batches)
    assert loss == pytest.approx(other, rel=1e-5)
    assert differs(expected, found) < 1e-4


def test_weights_stay_packed(make_trainer: MakeTrainer) -> None:
    model = make_trainer(quantize_bits=4).model
    arrays: Any = dict(tree_flatten(model.parameters()))
    assert arrays["model.layers.0.mlp.up_proj.linear.weight"].shape == (128, 64 * 4 // 32)
    assert arrays["model.embed_tokens.weight"].dtype == mx.uint32


def trained(trainer: Any) -> set[str]:
    """Name what is trained, layer by layer."""
    arrays: Any = tree_flatten(trainer.model.trainable_parameters())
    return {re.sub("^model.layers.", "", name) for name, _ in arrays}


def test_target_keys_choose_layers_by_path_or_by_its_end(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(target_keys=("q_proj", "mlp.up_proj"), lora_layers=1)
    keys = ["mlp.up_proj", "self_attn.q_proj"]
    assert trained(trainer) == {f"1.{key}.lora_{side}" for key in keys for side in "ab"}
    assert trainer.config["lora_parameters"]["keys"] == keys
    full = make_trainer(method="full", target_keys=("down_proj",))
    assert trained(full) == {"0.mlp.down_proj.weight", "1.mlp.down_proj.weight"}
    dora = make_trainer(method="dora", target_keys=("o_proj",), lora_layers=1)
    assert trained(dora) == {f"1.self_attn.o_proj.{part}" for part in ("lora_a", "lora_b", "m")}


def test_full_trains_the_last_layers_whole(make_trainer: MakeTrainer) -> None:
    names = trained(make_trainer(method="full", lora_layers=1))
    assert {"1.input_layernorm.weight", "1.mlp.up_proj.weight"} < names
    assert all(name.startswith("1.") for name in names)


def test_a_target_that_the_model_lacks_is_named(make_trainer: MakeTrainer) -> None:
    with pytest.raises(TrainingFailed) as caught:
        make_trainer(target_keys=("q_proj", "gate", "proj"))
    assert caught.value.reason == "UNTRAINABLE"
    assert "have no gate, proj; they have mlp.down_proj, mlp.gate_proj" in caught.value.message


def test_dora_is_for_the_layers_beside_a_mixtures_experts(tmp_path: Path, tiny_model: Path) -> None:
    base = write_model(tiny_model, tmp_path / "base", "olmoe")
    model, _ = load_lazily(base)
    with pytest.raises(TrainingFailed, match=r"mixture's experts, mlp\.switch_mlp\.\w+_proj; use"):
        prepare(model, Recipe(method=Method.DORA))
    config = prepare(model, Recipe(method=Method.DORA, target_keys=("q_proj", "mlp.gate")))
    assert config["lora_parameters"]["keys"] == ["mlp.gate", "self_attn.q_proj"]


def test_a_clipped_gradient_has_the_norm_it_was_given(make_trainer: MakeTrainer) -> None:
    """Plain descent shows the gradient itself: the first step of momentum changes nothing."""
    for clip, rate in ((0.0, 1e-3), (1e-3, 1.0)):
        trainer = shaken(
            make_trainer(
                rows=4, optimizer="sgd", weight_decay=0, grad_clip=clip, learning_rate=rate
            )
        )
        before: Any = dict(tree_flatten(trainer.model.trainable_parameters()))
        [batches] = steps(trainer)
        norm = np.sqrt(sum(float((g**2).sum()) for g in gradient(trainer, batches)[1].values()))
        trainer.run(Silent(), lambda: None)
        after: Any = dict(tree_flatten(trainer.model.trainable_parameters()))
        moved = np.sqrt(sum(mx.square(after[n] - before[n]).sum().item() for n in before))
        assert norm > 1e-2
        assert moved == pytest.approx(rate * (clip or norm), rel=1e-2)


def test_scoring_leaves_no_cache_behind(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cached_after() -> int:
        trainer = make_trainer(rows=8)
        trainer._valid = trainer._train
        mx.clear_cache()
        with monkeypatch.context() as patched:
            if not clears:
                patched.setattr(mx, "clear_cache", lambda: None)
            trainer._validate(Silent(), NO_HOOKS)
        assert trainer.state.val_loss > 0
        return mx.get_cache_memory()

    clears = False
    without = cached_after()
    clears = True
    # What is left is the last batch itself.
    assert cached_after() < without / 20
