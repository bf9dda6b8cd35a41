"""What a job finds out about its version: how base model and trained weights score and answer.

The base is asked before step 1, when the weights still are its own: then nothing has to be switched
off or loaded twice, whatever the method. Neither changes a trained byte.
"""

from collections.abc import Iterable
from heapq import nsmallest
from typing import Any

from mlx_hub.internal.v1 import worker_pb2
from mlx_hub.registry.v1 import version_sample_pb2 as pb

from services.runtime.encoding import Encoder, Example, Opening, RowRefusedError
from services.runtime.rows import Side, draw
from services.trainer.evaluations import evaluation_to_proto
from services.trainer.reports import Evaluation
from services.trainer.worker.data import Sides
from services.trainer.worker.failures import untrainable
from services.trainer.worker.kept import Answer, Found, Kept
from services.trainer.worker.link import Link
from services.trainer.worker.loop import Trainer, by_length
from services.trainer.worker.writing import answers, readable

# Held-out rows beyond these are not scored: a fair choice of so many tells as much.
EVALUATED_ROWS = 1000


class Evaluator:
    """Asks the trainer's model, before and after, on the thread that owns it."""

    def __init__(
        self, trainer: Trainer, sides: Sides, encoder: Encoder, ends: Iterable[int], kept: Kept
    ) -> None:
        """Choose the rows and the prompts; `ends` are the tokens that end an answer."""
        recipe = trainer.recipe
        self._trainer = trainer
        self._encoder = encoder
        self._ends = tuple(ends)
        self._kept = kept
        self._side, self._held_out = (
            (Side.TEST, sides.test) if sides.test else (Side.VALID, sides.valid)
        )
        self._rows = chosen(self._held_out, recipe.seed) if recipe.evaluate else []
        self._openings = _openings(trainer, sides, encoder, self._side)
        self.idle = not (self._rows or self._openings)
        self.base = kept.read()

    @property
    def resumable(self) -> bool:
        """Tell whether the base need not be asked any more, so that a checkpoint is of use."""
        return self.idle or self.base is not None

    def before(self, link: Link) -> None:
        """Ask the base model, unless an earlier attempt did."""
        if not self.resumable:
            self.base = self._ask("base", link)
            self._kept.write(self.base)

    def after(self, link: Link) -> worker_pb2.WorkerFinished:
        """Ask the trained weights, and give both in what the worker tells at its end."""
        if self.idle or self.base is None:
            return worker_pb2.WorkerFinished()
        trained = self._ask("version", link)
        told = [self._told("base", self.base), self._told("version", trained)]
        pairs = zip(self._openings, self.base.answers, trained.answers, strict=True)
        return worker_pb2.WorkerFinished(
            evaluations=[evaluation_to_proto(one) for one in told if one is not None],
            samples=[_sample(*pair) for pair in pairs],
        )

    def _ask(self, which: str, link: Link) -> Found:
        loss, tokens = self._trainer.score(self._rows, link) if self._rows else (None, 0)
        written: tuple[Answer, ...] = ()
        if self._openings:
            step = self._trainer.state.step
            written = answers(
                self._trainer, self._encoder, self._openings, self._ends, lambda: link.poll(step)
            )
        found = Found(loss, tokens, written)
        if (told := self._told(which, found)) is not None:
            link.evaluation(told)
        return found

    def _told(self, which: str, found: Found) -> Evaluation | None:
        if found.loss is None:
            return None
        rows, all_rows = len(self._rows), len(self._held_out)
        return Evaluation(which, str(self._side), found.loss, rows, all_rows, found.tokens)


def chosen(rows: list[Example], seed: int) -> list[Example]:
    """Give the rows that are scored: all, or of many those of the lowest draws."""
    lowest = nsmallest(
        EVALUATED_ROWS, rows, key=lambda row: draw(f"evaluate:{seed}:{row.line}".encode())
    )
    return by_length(lowest)


def _openings(trainer: Trainer, sides: Sides, encoder: Encoder, side: Side) -> list[Opening]:
    """Give the prompts of the recipe, or of the held-out rows that were found for it."""
    recipe = trainer.recipe
    if not recipe.sample_prompts:
        return [encoder.opening(row) for row in sides.openings.of(side)]
    asked = []
    for number, prompt in enumerate(recipe.sample_prompts, 1):
        try:
            opening = encoder.question(prompt, is_text=sides.is_text)
        except RowRefusedError as error:
            raise untrainable(f"prompt {number} of sample_prompts: {error}") from error
        if not 0 < len(opening.tokens) <= recipe.max_seq_length:
            raise untrainable(
                f"prompt {number} of sample_prompts has {len(opening.tokens)} tokens, and "
                f"max_seq_length is {recipe.max_seq_length}; shorten it or raise max_seq_length"
            )
        asked.append(opening)
    return asked


def _sample(opening: Opening, base: Answer, version: Answer) -> pb.VersionSample:
    turns: list[Any] = [
        pb.SampleTurn(role=role, content=readable(content)) for role, content in opening.turns
    ]
    return pb.VersionSample(turns=turns, base=_answer(base), version=_answer(version))


def _answer(answer: Answer) -> pb.SampleAnswer:
    return pb.SampleAnswer(text=answer.text, tokens=answer.tokens, cut=answer.cut)
