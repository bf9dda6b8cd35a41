"""The command as a whole: what every verb offers, and what it says of wrong words."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import typer
from mlx_hub.cli import session
from mlx_hub.cli.complete import model_names
from mlx_hub.cli.errors import MEANINGS, exit_code
from mlx_hub.cli.main import app, whole
from mlx_hub.client.errors import HubError
from typer.testing import CliRunner

from tests.fixtures.scripted_answers import answering

ROOT = Path(__file__).resolve().parents[2]
# They ask no hub, so there is no answer of it to print.
ASK_NO_HUB = {
    "up": "runs until it is stopped; `status --json` tells a program how the hub is",
    "down": "ends the hub; its exit code tells the rest",
    "demo": "a show for people",
    "keygen": "prints the public key, which programs read as it is",
}


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, below in getattr(command, "commands", {}).items():
        yield from verbs(below, (*path, name))
    if not getattr(command, "commands", {}):
        yield " ".join(path), command


def test_every_verb_that_asks_the_hub_takes_json() -> None:
    found = dict(verbs(typer.main.get_command(whole())))
    lacking = {
        name
        for name, verb in found.items()
        if not any("--json" in param.opts for param in verb.params)
    }
    assert lacking == set(ASK_NO_HUB)
    assert {"generate", "chat", "jobs watch", "cache clear"} <= set(found)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("model list", "'models'"),
        ("list models", "'mlx-hub models list'"),
        ("submit m d", "'mlx-hub jobs submit'"),
        ("models generate m hi", "'mlx-hub generate'"),
        ("versions list", "'mlx-hub models versions'"),
        ("models ls", "'mlx-hub models list'"),
        ("train m d", "'mlx-hub jobs submit'"),
        ("models lst", "'list'"),
        ("stop", "'mlx-hub down'"),
    ],
)
def test_a_wrong_word_is_told_what_was_meant(words: str, meant: str) -> None:
    result = CliRunner().invoke(whole(), words.split(), prog_name="mlx-hub", env={"COLUMNS": "200"})
    assert result.exit_code == 2 and result.stdout == ""
    assert f"Did you mean {meant}?" in result.stderr


def test_each_kind_of_error_has_a_documented_exit_code() -> None:
    codes = {exit_code(kind("")) for kind in HubError.__subclasses__()}
    assert codes | {0, 130} == set(MEANINGS)
    told = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    assert all(f"{code} {meaning}" in told for code, meaning in MEANINGS.items())


def test_the_document_is_the_command(tmp_path: Path) -> None:
    made = tmp_path / "cli.md"
    subprocess.run([sys.executable, "scripts/generate_cli.py", made], cwd=ROOT, check=True)
    assert made.read_text() == (ROOT / "docs/cli.md").read_text(), "docs/cli.md is stale: make docs"


def test_shells_are_offered_the_names_of_models() -> None:
    with answering() as hub:
        command = typer.main.get_command(app)
        for address, offered in ((hub.address, ["m"]), ("127.0.0.1:1", [])):
            args = ["--address", address]
            with command.make_context("mlx-hub", args, resilient_parsing=True) as ctx:
                assert model_names(cast(typer.Context, ctx), "") == offered
    script = {"_MLX_HUB_COMPLETE": "complete_bash", "COMP_WORDS": "mlx-hub ver", "COMP_CWORD": "1"}
    result = CliRunner().invoke(app, [], prog_name="mlx-hub", env=script)
    assert set(result.stdout.split()) == {"verify", "versions"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_for(shell: str, tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    subprocess.run(
        [sys.executable, "-m", "mlx_hub.cli", "--install-completion", shell], env=env, check=True
    )
    assert [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_key_goes_to_the_client_library(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def hub(address: str | None, *, api_key: str | None, **more: object) -> None:
        given.update(address=address, api_key=api_key, **more)

    monkeypatch.setattr(session, "Hub", hub)
    args = ["--address", "a:1"]
    for env, words in (({"MLX_HUB_API_KEY": "k"}, args), ({}, [*args, "--api-key", "k"])):
        monkeypatch.setattr("os.environ", env)
        command = typer.main.get_command(app)
        with command.make_context("mlx-hub", words, resilient_parsing=True) as ctx:
            session.connect(cast(typer.Context, ctx))
        assert given.pop("api_key") == "k"
