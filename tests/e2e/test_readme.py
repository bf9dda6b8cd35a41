"""Every example of the README does what it says, run as it is written."""

from pathlib import Path

import pytest

from tests.fixtures.documented import RUN, blocks, run
from tests.fixtures.stack import RunningStack

BLOCKS = [block for block in blocks("README.md") if block.language in RUN]


@pytest.fixture(scope="module")
def outputs(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Run the examples in order, against this stack instead of the default port."""
    folder: Path = tmp_path_factory.mktemp("readme")
    return [run(block.language, block.text, stack.port, stack.env, folder) for block in BLOCKS]


def test_the_readme_has_its_examples() -> None:
    assert [block.language for block in BLOCKS] == ["sh", "sh", "python"]


def test_curl_streams_to_a_completion_with_provenance(outputs: list[str]) -> None:
    assert '"name":"readme"' in outputs[0]
    events = [line for line in outputs[0].splitlines() if line.startswith("data: ")]
    assert len(events) > 2
    assert '"provenance"' in events[-1]


def test_buf_curl_answers(outputs: list[str]) -> None:
    assert '"baseModel"' in outputs[1]


def test_python_prints_text_and_provenance(outputs: list[str]) -> None:
    assert "base_digest" in outputs[2]
