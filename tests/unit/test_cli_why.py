"""What people see of a past answer."""

import io

from mlx_hub.cli.why import show_generation
from rich.console import Console

from tests.fixtures.scripted_generations import FAILED, FINISHED


def shown(record: object) -> str:
    ui = Console(file=io.StringIO(), width=160, markup=False, highlight=False, emoji=False)
    show_generation(record, ui)  # type: ignore[arg-type]
    assert isinstance(ui.file, io.StringIO)
    return ui.file.getvalue()


def test_an_answer_is_traced_to_its_sampling_version_job_data_code_and_base() -> None:
    text = shown(FINISHED)
    for line in (
        "finished (length)",
        f"asked  12 tokens, 8 of them cached, 40 bytes, sha256 {'1' * 64}",
        f"answered  20 tokens, 93 bytes, sha256 {'2' * 64}",
        "first text after 0.120 s (the engine's 0.100 s), 1.500 s in all",
        "max_tokens 20, temperature 0.7, stop ['[b]\\x1b'], seed 11",
        "keys and values  in 8 bits",
        "drafted  9 tokens, 6 of them taken; some by small",
        f"adapter  {'3' * 64}",
        f"base model base  {'4' * 64}",
        f"dataset tickets  {'5' * 64}",
        "job 7, attempt 2, seed 5",
        f"code  {'6' * 40}",
        f"requirements.lock  {'7' * 64}",
    ):
        assert line in text
    assert text.startswith("generation chatcmpl-1  ")
    assert "\x1b" not in text


def test_an_answer_of_the_base_model_that_broke_off_says_why_and_needs_no_job() -> None:
    text = shown(FAILED)
    assert text.startswith("generation f    failed (ENGINE_DIED)\n")
    assert f"base model base  {'4' * 64}  from org/base" in text
    assert "answered  3 tokens" in text
    assert "keys and values  of the last 64 tokens" in text
    assert "drafted" not in text
    assert "job" not in text and "dataset" not in text
