"""The head in blocks, and short prompts that come together read in one pass."""

from pathlib import Path

import pytest

from services.inference.engine.events import Failed
from services.runtime.model import prepare
from tests.fixtures.passes import Passes

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


def answered(folder: Path, *, together: bool) -> tuple[list[list[int]], Passes]:
    """Answer the prompts, all at once or one after the other."""
    run = Passes(folder)
    for number, prompt in enumerate(PROMPTS):
        run.add(number, prompt)
        if not together:
            run.finish()
    run.finish()
    return [run.tokens(number) for number in range(len(PROMPTS))], run


def test_short_prompts_that_come_together_take_one_pass_and_answer_as_alone(
    tiny_model: Path,
) -> None:
    alone, _ = answered(tiny_model, together=False)
    found, run = answered(tiny_model, together=True)
    assert found == alone
    assert all(len(answer) == 12 for answer in found)
    # The fifth is too long for it. Of the others each one's last token alone is scored.
    assert (4, 30) in run.model.passes
    assert run.model.scored[run.model.passes.index((4, 30))] == (4, 1)


def test_a_fault_while_ends_are_read_leaves_the_next_pass_whole(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = answered(tiny_model, together=False)
    run = Passes(tiny_model)
    with monkeypatch.context() as broken:
        broken.setattr(type(run.model), "__call__", lambda *_, **__: 1 / 0)
        for number, prompt in enumerate(PROMPTS[:4]):
            run.add(number, prompt)
        run.batch.step()
    assert len([outcome for outcome in run.outcomes if isinstance(outcome, Failed)]) == 4
    run.add(9, PROMPTS[4])
    run.finish()
    assert run.tokens(9) == alone[4]
    assert run.model.scored[0] == run.model.passes[0] == (1, len(PROMPTS[4]) - 1)
