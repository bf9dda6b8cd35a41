"""The operator's keys on the command line."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from services.registry.signing import key_id, read_private
from services.stack.commands import register


def run(*words: str) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, words)


def test_a_key_is_made_and_only_its_public_half_shown(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    result = run("keygen", str(path))
    assert result.exit_code == 0, result.output
    key = read_private(path)
    assert result.stdout.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert result.stdout.endswith(f"key id {key_id(key.public_key())}\n")
    assert "PRIVATE" not in result.output
    assert f"MLX_HUB_SIGNING_KEY={path}" in result.stderr


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    run("keygen", str(path))
    before = path.read_bytes()
    again = run("keygen", str(path))
    assert again.exit_code == 1
    assert "no key is overwritten" in again.stderr
    assert path.read_bytes() == before
    assert run("keygen", str(tmp_path / "no" / "key.pem")).exit_code == 1


def test_config_masks_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_HUB_SIGNING_KEY", str(tmp_path / "secret.pem"))
    monkeypatch.setenv("MLX_HUB_TRUSTED_KEYS", "/keys/one.pem")
    shown = run("config").stdout
    assert "MLX_HUB_SIGNING_KEY=***\n" in shown
    assert "MLX_HUB_TRUSTED_KEYS=/keys/one.pem\n" in shown
    assert "secret.pem" not in shown


def test_config_shows_what_each_service_may_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_HUB_KEEP_ALIVE_SECONDS", "7")
    shown = json.loads(run("config", "--json").stdout)
    assert shown["MLX_HUB_KEEP_ALIVE_SECONDS"] == "7"
    assert {"MLX_HUB_PORT", "MLX_HUB_SCRUB_INTERVAL_SECONDS", "MLX_HUB_LEASE_SECONDS"} <= set(shown)
    monkeypatch.setenv("MLX_HUB_KV_TOKENS", "1")
    refused = run("config")
    assert refused.exit_code == 2 and "MLX_HUB_LEASE_SECONDS=" in refused.stdout
