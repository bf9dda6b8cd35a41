import json
from pathlib import Path

import pytest
from mlx_hub.client.address import find_address


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_HUB_HOME", str(tmp_path))
    monkeypatch.delenv("MLX_HUB_ADDRESS", raising=False)


def _ports(home: Path, text: str) -> None:
    (home / "run").mkdir()
    (home / "run" / "ports.json").write_text(text)


def test_the_default_is_the_documented_port() -> None:
    assert find_address() == "127.0.0.1:8080"


def test_a_running_local_stack_is_found(tmp_path: Path) -> None:
    _ports(tmp_path, json.dumps({"gateway": 8123, "registry": 1}))
    assert find_address() == "127.0.0.1:8123"


@pytest.mark.parametrize("text", ["", "[]", '{"registry": 1}', '{"gateway": null}', "\udcff"])
def test_a_broken_port_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ports.json").write_bytes(text.encode(errors="surrogateescape"))
    assert find_address() == "127.0.0.1:8080"


def test_the_environment_and_then_the_argument_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ports(tmp_path, '{"gateway": 8123}')
    monkeypatch.setenv("MLX_HUB_ADDRESS", "http://hub.lan:9000/")
    assert find_address() == "hub.lan:9000"
    assert find_address("other:1") == "other:1"
