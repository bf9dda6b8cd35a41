"""Every example of the README does what it says, run as it is written."""

import json
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
    model, *events = outputs[0].split("data: ")
    assert json.loads(model)["name"] == "readme"
    # Model 1 is whichever the stack got first: an answer of it may be a single piece, or several.
    *told, last = [json.loads(event) for event in events]
    text = "".join(event["delta"]["text"] for event in told if "delta" in event)
    assert text == last["completion"]["text"] and last["completion"]["tokens"] > 0
    assert last["completion"]["provenance"]["base_digest"]


def test_buf_curl_answers(outputs: list[str]) -> None:
    assert '"baseModel"' in outputs[1]


def test_python_prints_text_and_provenance(outputs: list[str]) -> None:
    assert "base_digest" in outputs[2]
