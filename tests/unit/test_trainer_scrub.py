"""What is shown of a worker's words holds no path of the node, no secret and no terminal code."""

from pathlib import Path

import pytest

from services.trainer.joblog.scrub import MAX_CHARACTERS, Scrubber

HOME = Path("/data/My Hub")
SCRUB = Scrubber([HOME], {"HF_TOKEN": "hf_abcdef", "LANG": "C.UTF-8", "SHORT_KEY": "abc"})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data/My Hub/active/jobs/3/checkpoints is full", "…/active/jobs/3/checkpoints is full"),
        ("/data/My Hub2/a", "…/My Hub2/a"),
        ("cannot open '/srv/a/b.safetensors'", "cannot open '…/b.safetensors'"),
        ("No such file:/srv/a, (/x/y)", "No such file:…/a, (…/y)"),
        ("g++ -I/usr/include/mlx -o/var/x.so", "g++ -I…/mlx -o…/x.so"),
        ("see file:///srv/a/b", "see …/b"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("postgresql://user:pass-word@host/db", "postgresql://user:***@host/db"),
        ("Bearer hf_abcdef, abc", "Bearer ***, abc"),
        ("12 tok/s, 1/2 and step 3/10", "12 tok/s, 1/2 and step 3/10"),
        ("\x1b[31mred\x1b[0m\x07\tbell", "red bell"),
    ],
)
def test_nothing_of_the_node_is_shown(text: str, shown: str) -> None:
    assert SCRUB(text) == shown
    assert SCRUB(shown) == shown


def test_a_long_line_is_cut() -> None:
    assert len(SCRUB("x" * 9999)) == MAX_CHARACTERS
    assert SCRUB("x" * 9999).endswith("x…")
