"""An API key goes with every call, never where others could read it, and is never shown."""

import logging
import traceback
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from mlx_hub.cli.main import app
from mlx_hub.client import AsyncHub, Hub, HubError, Invalid, Unreachable
from mlx_hub.client.address import is_loopback
from mlx_hub.registry.v1.model_pb2 import Model
from typer.testing import CliRunner, Result

from services.chassis import errors as served
from tests.fixtures.certificates import Identity
from tests.fixtures.scripted_hub import ScriptedHub, serving

KEY = "mlxhub_5ecret"
FAR = "hub.example:8080"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLX_HUB_API_KEY", raising=False)


@pytest.fixture
def scripted_hub() -> Iterator[ScriptedHub]:
    with serving() as hub:
        yield hub


def sent(hub: ScriptedHub) -> list[Any]:
    return [said.get("authorization") for said in hub.metadata]


async def test_it_goes_with_every_kind_of_call(scripted_hub: ScriptedHub) -> None:
    with Hub(scripted_hub.address, api_key=KEY) as hub:
        acts: list[Callable[[], object]] = [
            lambda: hub.models.get(1),
            lambda: list(hub.models.list()),
            lambda: list(hub.jobs.watch(1)),
            lambda: hub.datasets.upload("d", BytesIO(b"{}")),
            hub.stream(1, "x").result,
            lambda: hub.within(9).health(),
        ]
        for act in acts:
            with pytest.raises(HubError):
                act()
    async with AsyncHub(scripted_hub.address, api_key=KEY) as hub_async:
        for answer in (
            hub_async.models.get(1),
            anext(hub_async.jobs.tail(1)),
            hub_async.datasets.upload("d", BytesIO(b"{}")),
            hub_async.stream(1, "x").result(),
        ):
            with pytest.raises(HubError):
                await answer
    assert sent(scripted_hub) == [f"Bearer {KEY}"] * 10


def test_it_is_taken_from_the_environment_by_the_command_too(
    scripted_hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hub(scripted_hub.address) as hub, pytest.raises(HubError):
        hub.health()
    monkeypatch.setenv("MLX_HUB_API_KEY", KEY)
    with Hub(scripted_hub.address) as hub, pytest.raises(HubError):
        hub.health()
    CliRunner().invoke(app, ["--address", scripted_hub.address, "status"])
    assert sent(scripted_hub) == [None, f"Bearer {KEY}", f"Bearer {KEY}"]
    refused = CliRunner().invoke(app, ["--address", FAR, "status"])
    assert refused.exit_code == 2
    assert "another machine" in refused.stderr
    assert KEY not in refused.output


@pytest.mark.parametrize("kind", [Hub, AsyncHub])
def test_it_does_not_cross_a_network_in_the_clear(kind: Callable[..., Any]) -> None:
    with pytest.raises(Invalid, match=r"hub\.example:8080 is another machine") as caught:
        kind(FAR, api_key=KEY)
    assert caught.value.field == "api_key"
    with pytest.raises(Invalid):
        kind(f"http://{FAR}", api_key=KEY)
    for settings in ({"insecure": True}, {"tls": True}):
        assert kind(FAR, api_key=KEY, **settings).address == FAR
    assert kind(f"https://{FAR}/", api_key=KEY).address == FAR
    assert kind(FAR).address == FAR


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1:8080", True),
        ("127.8.8.8", True),
        ("localhost:1", True),
        ("[::1]:8080", True),
        ("unix:/run/hub.sock", True),
        ("0.0.0.0:8080", False),
        ("10.0.0.1:8080", False),
        ("127.0.0.1.evil.example:8080", False),
        ("localhost.evil.example", False),
        ("evil.example/127.0.0.1:80", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("dns:///localhost:1", False),
        ("2130706433:80", False),
        ("[fe80::1]:1", False),
        ("", False),
    ],
)
def test_what_counts_as_this_machine(address: str, here: bool) -> None:
    assert is_loopback(address) is here


def test_tls_trusts_the_given_authority_and_no_other(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_HUB_API_KEY", KEY)
    with identity.serving() as hub:
        hub.on["GetModel"] = lambda _: Model(id=3)
        with Hub(hub.address, root_certificates=identity.path) as trusting:
            assert trusting.models.get(1).id == 3
        address = f"https://{hub.address}"
        with Hub(address, timeout=5) as wary, pytest.raises(Unreachable, match=address):
            wary.models.get(1)
        with Hub(hub.address, timeout=5) as plain, pytest.raises(Unreachable):
            plain.models.get(1)
    assert sent(hub) == [f"Bearer {KEY}"]


async def test_tls_for_the_async_hub_and_a_file_that_is_no_certificate(
    identity: Identity, tmp_path: Path
) -> None:
    with identity.serving() as hub:
        hub.on["GetModel"] = lambda _: Model(id=3)
        async with AsyncHub(hub.address, root_certificates=str(identity.path)) as trusting:
            assert (await trusting.models.get(1)).id == 3
    with pytest.raises(FileNotFoundError):
        Hub(FAR, root_certificates=tmp_path / "missing.pem")


def test_the_command_speaks_tls(
    identity: Identity, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with identity.serving() as hub:
        hub.on["GetModel"] = lambda _: Model(id=3)

        def show(*options: str) -> Result:
            return CliRunner().invoke(app, [*options, "models", "show", "1"])

        https = ("--address", f"https://{hub.address}")
        for options in (("--address", hub.address), https):
            assert show(*options, "--ca-file", str(identity.path)).exit_code == 0
        monkeypatch.setenv("MLX_HUB_CA_FILE", str(identity.path))
        assert show(*https).exit_code == 0
        monkeypatch.setenv("MLX_HUB_CA_FILE", str(tmp_path / "missing.pem"))
        refused = show(*https)
        assert refused.exit_code == 2
        assert "MLX_HUB_CA_FILE" in refused.stderr
    # Where nobody asked for TLS, the variable changes nothing.
    with serving() as plain:
        plain.on["GetModel"] = lambda _: Model(id=3)
        assert show("--address", plain.address).exit_code == 0


def test_the_command_sends_a_key_in_the_clear_only_if_told_so() -> None:
    words = ("--address", "hub.invalid:1", "--api-key", KEY, "status")
    assert CliRunner().invoke(app, [*words]).exit_code == 2
    assert CliRunner().invoke(app, ["--insecure", *words]).exit_code == 5


def shown(error: BaseException) -> str:
    """All that a log or a terminal would print of an error."""
    told = "".join(traceback.format_exception(error))
    return f"{told}{error!r}{vars(error)}"


def test_it_is_never_shown(scripted_hub: ScriptedHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scripted_hub.on["GetModel"] = lambda _: served.NotFound("MODEL_NOT_FOUND", "no model 1")
    texts = []
    with Hub(scripted_hub.address, api_key=KEY) as hub:
        texts += [repr(hub), repr(hub.models), repr(vars(hub._transport)), str(vars(hub))]
        with pytest.raises(HubError) as caught:
            hub.models.get(1)
        texts.append(shown(caught.value))
    with Hub("127.0.0.1:1", api_key=KEY) as nobody, pytest.raises(Unreachable) as gone:
        nobody.models.get(1)
    texts.append(shown(gone.value))
    for key in (f"{KEY}\n", f"{KEY} x", f"{KEY}é", f"{KEY}\x00"):
        with pytest.raises(Invalid, match="printable ASCII") as wrong:
            Hub(scripted_hub.address, api_key=key)
        texts.append(shown(wrong.value))
    with pytest.raises(Invalid) as refused:
        Hub(FAR, api_key=KEY)
    texts += [shown(refused.value), caplog.text]
    assert not [text for text in texts if KEY in text]
