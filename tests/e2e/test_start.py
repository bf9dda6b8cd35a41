"""docs/start.md, from its first command to its last, on a hub of its own.

The base model has the starter's name and is the tiny one, imported before: what is shown here is
that the page's commands do what it says. The demo and the README's examples use the starter itself.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.stack.ports import free_port
from services.stack.starter import NAME
from tests.fixtures.documented import ROOT, RUN, blocks, run, run_section
from tests.fixtures.stack import stack_environment

BLOCKS = blocks("docs/start.md")
WAYS = ("Command line", "curl", "buf curl", "Python", "OpenAI SDK")


@dataclass(frozen=True)
class Reader:
    """Somebody who follows the page in a checkout."""

    port: int
    env: dict[str, str]
    folder: Path

    def follow(self, section: str) -> str:
        """Do what a section says and give what was printed."""
        return run_section(BLOCKS, section, self.port, self.env, self.folder)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Reader]:
    """Begin as the page does; whatever a test does, the hub is stopped in the end."""
    folder = tmp_path_factory.mktemp("start")
    for name in (".venv", "examples"):
        (folder / name).symlink_to(ROOT / name)
    port = free_port(set())
    env = {**stack_environment(folder / "home"), "MLX_HUB_PORT": str(port)}
    here = Reader(port, env, folder)
    try:
        run("sh", f"mlx-hub models import {tiny_model} --name {NAME}", port, env, folder)
        assert NAME in here.follow("Begin")
        yield here
    finally:
        run("sh", "mlx-hub down", port, env, folder)


def test_every_block_is_run_or_only_shows_something() -> None:
    assert {block.language for block in BLOCKS} == {*RUN, "json"}
    sections = list(dict.fromkeys(block.section for block in BLOCKS))
    assert sections == ["Begin", *WAYS, "Stop"]


def test_by_command_line(reader: Reader) -> None:
    output = reader.follow("Command line")
    assert "version 1 of model" in output
    assert "model.safetensors" in output
    assert_traced(output, reader)


def test_by_curl(reader: Reader) -> None:
    output = reader.follow("curl")
    assert '"code":' not in output
    assert "data: " in output
    assert_traced(output, reader)


def test_by_buf_curl(reader: Reader) -> None:
    assert_traced(reader.follow("buf curl"), reader)


def test_by_python(reader: Reader) -> None:
    output = reader.follow("Python")
    assert "step 8: loss" in output
    assert_traced(output, reader)


def test_by_openai_sdk(reader: Reader) -> None:
    output = reader.follow("OpenAI SDK")
    assert "tickets-cli@champion: " in output
    assert_traced(output, reader)


def test_stop(reader: Reader) -> None:
    reader.follow("Stop")
    assert not (reader.folder / "home/run/ports.json").exists()


def assert_traced(output: str, reader: Reader) -> None:
    """See the digest of the very rows in what a way printed last."""
    digest = hashlib.sha256((reader.folder / "tickets.jsonl").read_bytes()).hexdigest()
    assert digest in output
