"""A chat at a terminal and from a pipe, with the real model."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from services.stack.plan import python
from tests.fixtures.stack import RunningStack
from tests.fixtures.terminal import CTRL_C, CTRL_D, Terminal


@pytest.fixture(scope="module")
def env(stack: RunningStack) -> Mapping[str, str]:
    made = stack.mlx_hub("models", "create", "talker", "--base-model", stack.base_model)
    assert made.returncode == 0, made.stderr
    # In memory at once, so that no answer waits for it.
    assert stack.mlx_hub("load", "talker:base").returncode == 0
    return {**os.environ, **stack.env}


def test_ctrl_c_stops_the_answer_and_ctrl_d_the_chat(
    env: Mapping[str, str], tmp_path: Path
) -> None:
    with Terminal("chat", "talker:base", "--max-tokens", "400", env=env) as screen:
        screen.see(">>> ")
        screen.enter("Write a long story about the sea.\r")
        screen.see("sea.\r\n")
        screen.see("e", 120)
        screen.enter(CTRL_C)
        screen.see("stopped")
        screen.see(">>> ")
        screen.enter('"""\rSay\rhello.\r"""\r')
        shown = screen.see("generation ", 120)
        assert "tok/s" in shown and "first after" in shown
        screen.see(">>> ")
        screen.enter(f"/save {tmp_path}/row.jsonl\r")
        screen.see("added to")
        screen.see(">>> ")
        screen.enter("no answer to this")
        screen.see("to this")
        screen.press(CTRL_C, ">>> ")
        screen.enter(CTRL_D)
        assert screen.process.wait(30) == 0
    turns = json.loads((tmp_path / "row.jsonl").read_text())["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2
    assert turns[2]["content"] == "Say\nhello."


def test_a_piped_chat_keeps_its_turns_and_speaks_aside(env: Mapping[str, str]) -> None:
    done = subprocess.run(
        python("mlx_hub.cli", "chat", "talker:base", "--max-tokens", "8", "--json"),
        input="Hello.\n/help\nAnd again.\n",
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    first, second = map(json.loads, done.stdout.splitlines())
    assert second["prompt_tokens"] > first["prompt_tokens"] + first["tokens"]
    assert "/reset" in done.stderr and done.returncode == 0
