"""Every example of docs/client.md does what it says, run as it is written, and is well typed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.stack import RunningStack

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / "docs/client.md").read_text(), re.M | re.S)


def run(arguments: list[str], stack: RunningStack, cwd: Path) -> str:
    done = subprocess.run(
        arguments,
        cwd=cwd,
        env=stack.env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each example as a program."""
    folder = tmp_path_factory.mktemp("examples")
    for number, (_, text) in enumerate(BLOCKS):
        (folder / f"example{number}.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def outputs(stack: RunningStack, folder: Path) -> list[str]:
    """Run the examples in order."""
    names = [f"example{number}.py" for number in range(len(BLOCKS))]
    return [run([sys.executable, name], stack, folder) for name in names]


def test_all_examples_are_programs_and_well_typed(stack: RunningStack, folder: Path) -> None:
    assert {language for language, _ in BLOCKS} == {"python"}
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-untyped-imports"]
    run([*mypy, *(path.name for path in sorted(folder.glob("*.py")))], stack, folder)


@pytest.mark.timeout(600)  # a job, on a busy machine
def test_they_say_what_the_page_says(outputs: list[str], stack: RunningStack) -> None:
    ask, listed, stream, chosen, upload, train, *rest = outputs
    brought, exported, trace, twin, errors, waits, keys = rest
    assert "8" in ask
    assert "tickets" in listed
    assert stack.base_model in listed
    assert "tokens, the first after" in stream
    assert chosen.strip() in {"bug", "question"}
    assert re.search(r"(\d+) of \1 bytes\n24 rows, sha256 [0-9a-f]{64}", upload)
    assert re.search(r"step 1 of \d+: loss \d", train)
    assert "version 1" in train
    assert re.search(r"(\d+) of \1 bytes\n\['adapter_config.json', 'adapters.safetensors'", brought)
    assert "turning the adapter into PEFT's form\n['README.md', 'adapter_config.json'" in exported
    assert re.search(r"version 1 of job \d+\ntrained on tickets [0-9a-f]{64}\nover smol", trace)
    assert "intact: True" in trace
    assert "job" in twin
    assert "MODEL_NOT_FOUND {'model_id': '999999'}\nNAME_TAKEN\nmax_tokens" in errors
    assert "no hub answers at 127.0.0.1:1" in errors
    assert "no story in 50 ms" in waits
    assert "hub.example:8080 is another machine" in keys
