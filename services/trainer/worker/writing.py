"""Answers to prompts by a model as it is now, each token the likeliest."""

from collections.abc import Callable, Iterable, Sequence

from mlx_lm.generate import BatchGenerator

from services.runtime.encoding import Encoder, Opening
from services.trainer.worker.kept import Answer
from services.trainer.worker.loop import Trainer

# Tokens of a prompt that are read between two looks at the supervisor.
READ_STEP = 128


def answers(
    trainer: Trainer,
    encoder: Encoder,
    openings: Sequence[Opening],
    ends: Iterable[int],
    poll: Callable[[], None],
) -> tuple[Answer, ...]:
    """Let the model answer all of the prompts in one batch."""
    written: dict[int, list[int]] = {}
    going: set[int] = set()
    trainer.model.eval()
    with trainer.objective.aside():
        generator = BatchGenerator(
            trainer.model,
            stop_tokens=[[token] for token in sorted(ends)],
            completion_batch_size=len(openings),
            prefill_batch_size=len(openings),
            prefill_step_size=READ_STEP,
        )
        try:
            most = [trainer.recipe.sample_tokens] * len(openings)
            numbers = generator.insert([opening.tokens for opening in openings], max_tokens=most)
            written, going = {number: [] for number in numbers}, set(numbers)
            cut = set(numbers)
            while going:
                poll()
                for told in generator.next()[1]:  # type: ignore[no-untyped-call]
                    if told.finish_reason == "stop":
                        cut.discard(told.uid)
                    else:
                        written[told.uid].append(int(told.token))
                    if told.finish_reason is not None:
                        going.discard(told.uid)
        finally:
            generator.close()  # type: ignore[no-untyped-call]
    return tuple(
        Answer(readable(encoder.decode(written[number])), len(written[number]), number in cut)
        for number in numbers
    )


def readable(text: str) -> str:
    """Give text as a database can store it."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
