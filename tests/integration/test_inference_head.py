"""The head in blocks, and short prompts that come together read in one pass."""

import time
from pathlib import Path
from typing import Any

import pytest
from mlx_hub.inference.v1 import generation_pb2 as pb

from services.inference.engine.events import Job, Outcome, Token
from services.runtime.model import load_base, prepare

EOS = 2
PROMPTS = [[5, 6, 7], list(range(10, 40)), [9], [100, 101], list(range(40, 100))]


@pytest.mark.parametrize("outputs", [6144, 6143])
@pytest.mark.parametrize("tied", [True, False])
def test_the_head_computes_what_it_did(outputs: int, *, tied: bool) -> None:
    prepare()
    import mlx.core as mx  # noqa: PLC0415  after prepare
    from mlx.nn.layers.base import Module  # noqa: PLC0415
    from mlx.nn.layers.embedding import Embedding  # noqa: PLC0415
    from mlx.nn.layers.linear import Linear  # noqa: PLC0415

    from services.inference.engine.head import quicken_head  # noqa: PLC0415

    class Model(Module):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.embed = Embedding(outputs, 512)
            self.wide = Linear(512, 4096)
            self.head = Linear(512, outputs, bias=outputs == 6144)

    model = Model()
    head = model.embed.as_linear if tied else model.head
    rows = [mx.random.normal((count, 2, 512)) for count in (1, 4, 8, 9)]
    before = [head(x) for x in rows]
    ends = quicken_head(model)
    head = model.embed.as_linear if tied else model.head
    for x, y in zip(rows, before, strict=True):
        assert head(x).shape == y.shape
        assert mx.allclose(head(x), y, atol=1e-4).item()
    ends.at = mx.array([1, 0, 1, 1])[:, None, None]
    assert mx.allclose(head(rows[1]), mx.take_along_axis(before[1], ends.at, axis=1), atol=1e-4)
    assert type(model.wide) is Linear


class Counted:
    """A model that notes the shapes of what it takes and gives."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.passes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def __call__(self, tokens: Any, cache: list[Any]) -> Any:
        logits = self._model(tokens, cache=cache)
        self.passes.append((tokens.shape, logits.shape[:2]))
        return logits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def generated(folder: Path, *, together: bool) -> tuple[list[list[int]], Counted]:
    """Answer the prompts, all at once or one after the other."""
    prepare()
    # They import MLX, which has to be prepared first.
    from services.inference.engine.adapters.layers import RoutedModel  # noqa: PLC0415
    from services.inference.engine.adapters.slots import Adapters  # noqa: PLC0415
    from services.inference.engine.batch import Batch  # noqa: PLC0415
    from services.inference.engine.head import quicken_head  # noqa: PLC0415
    from services.inference.engine.pace import BatchLimits  # noqa: PLC0415

    model, _, _ = load_base(folder)
    counted = Counted(model)
    routed = RoutedModel(counted, ends=quicken_head(model))
    outcomes: list[Outcome] = []
    limits = BatchLimits(8, 8192, 8, prefill_step=64, prefill_shared=16, ends_alone=True)
    batch = Batch(routed, Adapters(routed, 2, 0), {EOS}, limits, outcomes.append)
    for number, prompt in enumerate(PROMPTS):
        asked = pb.GenerateRequest(max_tokens=12, logit_bias={EOS: -100})
        batch.add(Job(number, asked, prompt, time.monotonic()))
        while not together and (batch.running or batch.waiting):
            batch.step()
    while batch.running or batch.waiting:
        batch.step()
    told = [o for o in outcomes if isinstance(o, Token)]
    return [[t.token for t in told if t.request == n] for n in range(len(PROMPTS))], counted


def test_short_prompts_that_come_together_take_one_pass_and_answer_as_alone(
    tiny_model: Path,
) -> None:
    alone, _ = generated(tiny_model, together=False)
    found, counted = generated(tiny_model, together=True)
    assert found == alone
    assert all(len(answer) == 12 for answer in found)
    # The fifth is too long for it. Of the others each one's last token alone is scored.
    assert ((4, 30), (4, 1)) in counted.passes
