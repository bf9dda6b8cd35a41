"""API keys as they are written down: every mistake is named, none of it shows a key."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway import guard, render
from gateway.settings import GatewaySettings

KEY = "0123456789abcdef"
OTHER = "fedcba9876543210"


def keys(monkeypatch: pytest.MonkeyPatch, text: str) -> GatewaySettings:
    monkeypatch.setenv("MLX_HUB_API_KEYS", text)
    return GatewaySettings()


def test_keys_come_from_both_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# who may what\n\n  bob:read+infer:{OTHER}\n")
    file.chmod(0o600)
    monkeypatch.setenv("MLX_HUB_API_KEYS_FILE", str(file))
    found = keys(monkeypatch, f" alice:admin:{KEY} ,").keys
    assert [str(key) for key in found] == ["alice:admin:***", "bob:read+infer:***"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (KEY, "entry 1 is not of the form"),
        (f"alice:{KEY}", "entry 1 is not of the form"),
        (f"a:read:{KEY}, b:read:{OTHER}:x", "entry 2 is not of the form"),
        (f"Alice:read:{KEY}", "a name has"),
        (f":read:{KEY}", "a name has"),
        (f"alice:write:{KEY}", "scopes are read, infer, train, admin"),
        (f"alice::{KEY}", "scopes are"),
        (f"alice:read+read:{KEY}", "each once"),
        (f"alice:open:{KEY}", "scopes are"),
        (f"alice:read:{KEY[1:]}", "16 to 256"),
        (f"alice:read:{KEY}é", "16 to 256"),
        (f"alice:read:{KEY * 17}", "16 to 256"),
        (f"a:read:{KEY},a:read:{OTHER}", "'a' is given twice"),
        (f"a:read:{KEY},b:admin:{KEY}", "'a' and 'b' are the same key"),
    ],
)
def test_a_wrong_entry_is_named_and_not_shown(
    text: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError) as caught:
        keys(monkeypatch, text)
    assert why in str(caught.value)
    assert KEY[1:] not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    monkeypatch.setenv("MLX_HUB_API_KEYS_FILE", str(file))
    with pytest.raises(ValidationError, match="can't be read"):
        GatewaySettings()
    file.write_text(f"bob:read:{KEY}")
    file.chmod(mode)
    with pytest.raises(ValidationError, match="chmod 600"):
        GatewaySettings()


def test_nothing_that_is_written_or_shown_holds_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = keys(monkeypatch, f"alice:read+admin:{KEY}")
    assert settings.masked()["api_keys"] == "alice:read+admin:***"
    assert KEY not in repr(settings)
    folder = tmp_path / "gateway"
    folder.mkdir()
    (folder / "guard.lua").touch(0o644)
    render.render(settings, folder)
    for file in folder.iterdir():
        assert KEY.encode() not in file.read_bytes()
        assert file.stat().st_mode & 0o777 == 0o600
    assert settings.keys[0].digest in (folder / "guard.lua").read_text()
    assert '["name"]="alice",["read"]=true,["admin"]=true' in guard.script(settings.keys)


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("127.0.0.2", ("127.0.0.2",)),
        ("0.0.0.0", ("0.0.0.0",)),  # noqa: S104
        ("::", ("::",)),
        ("192.168.1.5", ("127.0.0.1", "192.168.1.5")),
        ("fd00:0::5", ("127.0.0.1", "fd00::5")),
    ],
)
def test_keys_open_the_hub_to_others(
    host: str, addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_HUB_HOST", host)
    settings = keys(monkeypatch, f"alice:read:{KEY}")
    assert settings.addresses == addresses
    local = settings.addresses[0] if settings.is_local else "127.0.0.1"
    assert settings.nearest == local
    names = set(render.hosts(settings))
    assert not names & {"0.0.0.0", "[::]"}  # noqa: S104
    own = {"192.168.1.5", "192.168.1.5:8080", "[fd00::5]", "[fd00::5]:8080"}
    assert bool(names & own) == (len(addresses) == 2)


def test_hosts_are_added_by_name_with_or_without_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_HUB_ALLOWED_HOSTS", "hub.example, door.example:443,[fd00::1]")
    names = set(render.hosts(GatewaySettings()))
    assert {"hub.example", "hub.example:8080", "door.example:443", "[fd00::1]:8080"} <= names
    assert not {"door.example", "door.example:8080", "door.example:443:8080"} & names


@pytest.mark.parametrize("host", ["*", "*.example", "Hub.example", "http://a", "a/b", "a:b", "a b"])
def test_an_inexact_host_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_HUB_ALLOWED_HOSTS", host)
    with pytest.raises(ValidationError, match="exact host"):
        GatewaySettings()
