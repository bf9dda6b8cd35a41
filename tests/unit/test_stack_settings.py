"""Ports, space, the home's lock and the names of the settings."""

import json
import os
import socket
from pathlib import Path

import pytest

from services.stack import home as home_module
from services.stack import plan
from services.stack.errors import StackError
from services.stack.home import Home, check_addresses, check_space
from services.stack.ports import choose, free_port, is_free
from services.stack.settings import PORT_FIELDS, StackSettings, environment_name


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackSettings:
    monkeypatch.setenv("MLX_HUB_HOME", str(tmp_path / "home"))
    return StackSettings().model_copy(update=dict.fromkeys(PORT_FIELDS, 0))


def test_every_shown_setting_has_a_variable(settings: StackSettings) -> None:
    names = {environment_name(field) for field in settings.masked()}
    assert {"MLX_HUB_PORT", "DATABASE_URL", "ARTIFACT_ROOT", "STORAGE_ACTIVE_PATH"} <= names
    assert {"STORAGE_ARCHIVE_PATH", "MLX_HUB_DATASET_ROOT", "MLX_HUB_MIN_FREE_BYTES"} <= names


def test_zero_becomes_a_free_port_and_none_twice(settings: StackSettings) -> None:
    chosen = choose(settings)
    ports = {getattr(chosen, name) for name in PORT_FIELDS}
    assert len(ports) == len(PORT_FIELDS)
    assert all(is_free(port) for port in ports)


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_a_taken_port_is_named_with_its_variable(address: str, settings: StackSettings) -> None:
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StackError, match=f"Port {port} is taken.*MLX_HUB_TRAINER_PORT="):
            choose(settings.model_copy(update={"trainer_port": port}))


def test_one_port_for_two_is_refused(settings: StackSettings) -> None:
    port = free_port(set())
    twice = settings.model_copy(update={"port": port, "registry_port": port})
    with pytest.raises(StackError, match="given twice, by MLX_HUB_PORT and MLX_HUB_REGISTRY_PORT"):
        choose(twice)


def test_a_full_volume_is_refused(settings: StackSettings) -> None:
    check_space(settings)
    with pytest.raises(StackError, match="MLX_HUB_MIN_FREE_BYTES"):
        check_space(settings.model_copy(update={"min_free_bytes": 2**62}))


@pytest.mark.parametrize("field", ["bind_host", "registry_host", "trainer_host"])
def test_a_stack_keeps_its_services_on_loopback(field: str, settings: StackSettings) -> None:
    check_addresses(settings)
    with pytest.raises(StackError, match=f"MLX_HUB_{field.upper()} is for services that are"):
        check_addresses(settings.model_copy(update={field: "10.0.0.5"}))


def test_a_home_has_one_stack(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert home.holder() is None
    with home.claim():
        assert home.holder() == os.getpid()
        refused = pytest.raises(StackError, match=f"already runs.*process {os.getpid()}")
        with refused, Home(home.path).claim():
            raise AssertionError("claimed twice")
        home.write_ports({"gateway": 1})
        assert home.ports() == {"gateway": 1}
    assert home.holder() is None
    assert home.ports() is None


def test_ports_of_a_killed_stack_are_not_believed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.claim():
        home.write_ports({"gateway": 1})
    assert home.ports() is None
    with home.claim():
        assert home.ports() is None


def test_a_leftover_is_only_killed_if_it_is_the_recorded_one(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.claim():
        children = home.run / "children.json"
        children.write_text(json.dumps({str(os.getpid()): 1.0, "999999999": 1.0}))
        home.end_leftovers()
        assert not children.exists()


def test_the_run_folder_is_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.claim():
        assert home.run.stat().st_mode & 0o077 == 0
        assert home.path.stat().st_mode & 0o066 == 0


def test_nothing_runs_so_nothing_is_stopped(tmp_path: Path) -> None:
    assert not home_module.stop_holder(Home(tmp_path / "home"), 1)


def test_only_the_gateway_is_told_the_keys(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLX_HUB_API_KEYS", "a:read:0123456789abcdef")
    env = plan.environment(settings, "", "")
    assert "MLX_HUB_API_KEYS" not in env
    parts = plan.processes(env, tmp_path)
    told = {name for name, part in parts.items() if "MLX_HUB_API_KEYS" in part.env}
    assert told == {"gateway"}
