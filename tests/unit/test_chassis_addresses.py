"""Where the services listen and where they find each other."""

import pytest
from pydantic import ValidationError

from services.chassis.settings import HubSettings, at
from services.chassis.system import peers


def test_peers_are_on_loopback_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [p.address for p in peers(HubSettings())] == [
        "127.0.0.1:50051",
        "127.0.0.1:50052",
        "127.0.0.1:50053",
    ]
    monkeypatch.setenv("MLX_HUB_TRAINER_HOST", "host.docker.internal")
    monkeypatch.setenv("MLX_HUB_INFERENCE_HOST", "fd00::1")
    monkeypatch.setenv("MLX_HUB_TRAINER_METRICS_PORT", "9000")
    found = {p.name: (p.address, p.metrics_address) for p in peers(HubSettings())}
    assert found["trainer"] == ("host.docker.internal:50052", "host.docker.internal:9000")
    assert found["inference"] == ("[fd00::1]:50053", "[fd00::1]:9103")
    assert at("registry", 1) == "registry:1"


@pytest.mark.parametrize(
    "host", ["", "http://registry", "registry:50051", "a b", "-x", "1.2.3", "256.1.1.1", "x" * 254]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValidationError, match="no name or address"):
        HubSettings(registry_host=host)


@pytest.mark.parametrize("address", ["", "localhost", "registry", "0.0.0.0:1", "127.1"])
def test_services_listen_on_addresses_only(address: str) -> None:
    with pytest.raises(ValidationError, match="not an address to listen on"):
        HubSettings(bind_host=address)
