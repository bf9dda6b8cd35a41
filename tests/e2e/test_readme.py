"""Every example of the README does what it says, run as it is written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.stack import RunningStack

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)


def run(arguments: list[str], text: str, stack: RunningStack) -> str:
    path = f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **stack.env, "PATH": path}
    done = subprocess.run(
        arguments,
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def outputs(stack: RunningStack) -> list[str]:
    """Run the examples in order, against this stack instead of the default port."""
    assert shutil.which("curl"), "the README's examples use curl; install it to run this test"
    found = []
    for language, text in BLOCKS:
        here = text.replace("127.0.0.1:8080", f"127.0.0.1:{stack.port}")
        shell = ["sh", "-eu"] if language == "sh" else [sys.executable, "-"]
        found.append(run(shell, here, stack))
    return found


def test_the_readme_has_its_examples() -> None:
    assert [language for language, _ in BLOCKS] == ["sh", "sh", "python"]


def test_curl_streams_to_a_completion_with_provenance(outputs: list[str]) -> None:
    assert '"name":"readme"' in outputs[0]
    events = [line for line in outputs[0].splitlines() if line.startswith("data: ")]
    assert len(events) > 2
    assert '"provenance"' in events[-1]


def test_buf_curl_answers(outputs: list[str]) -> None:
    assert '"baseModel"' in outputs[1]


def test_python_prints_text_and_provenance(outputs: list[str]) -> None:
    assert "base_digest" in outputs[2]
