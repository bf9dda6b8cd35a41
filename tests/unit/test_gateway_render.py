"""What is rendered for Envoy follows from the descriptors and the settings."""

import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from pydantic import ValidationError
from ruamel.yaml import YAML

from gateway import contract, guard
from gateway.__main__ import command
from gateway.keys import ApiKey
from gateway.render import SERVICES, hosts, origins, render, routes
from gateway.settings import GatewaySettings

ROUTES = {route.match.get("path", route.match.get("prefix")): route for route in routes()}


def test_only_public_services_are_transcoded() -> None:
    names = [service.full_name for service in contract.services()]
    files = (Path(__file__).resolve().parents[2] / "proto/mlx_hub").rglob("*_service.proto")
    assert len(names) == len(list(files))
    assert not [name for name in names if "internal" in name]


def test_every_rpc_has_a_route_to_a_cluster() -> None:
    for method in contract.methods():
        route = ROUTES[f"/{method.containing_service.full_name}/{method.name}"]
        assert route.cluster in (*SERVICES, "system")
        assert route.streams == method.server_streaming


def test_only_declared_reads_are_retried() -> None:
    retried = {path for path, route in ROUTES.items() if route.retries}
    assert "/mlx_hub.registry.v1.RegistryService/GetModel" in retried
    assert "/mlx_hub.system.v1.SystemService/GetHealth" in retried
    assert "/mlx_hub.registry.v1.RegistryService/CreateModel" not in retried
    inference = "/mlx_hub.inference.v1.InferenceService/"
    reads = {"GetGeneration", "ListGenerations", "GetCacheStats", "ListEngines"}
    assert {path for path in retried if path and path.startswith(inference)} == {
        inference + r for r in reads
    }
    assert "/mlx_hub.trainer.v1.TrainerService/WatchTrainingJob" not in retried
    report = "/mlx_hub.registry.v1.DatasetService/GetDatasetReport"
    assert report not in retried, "a try that is cut short would throw minutes of work away"


def test_openai_is_served_by_inference() -> None:
    path = "/mlx_hub.openai.v1.OpenAIService/CreateChatCompletion"
    assert (ROUTES[path].cluster, ROUTES[path].streams) == ("inference", True)


def test_the_descriptor_set_is_whole_and_in_order() -> None:
    known: set[str] = set()
    for file in contract.descriptor_set().file:
        assert set(file.dependency) <= known
        known.add(file.name)
    assert {"google/rpc/error_details.proto", "google/rpc/status.proto"} <= known
    assert not [name for name in known if "internal" in name]


def test_hosts_and_origins_are_exact() -> None:
    settings = GatewaySettings(
        port=9000, host="127.0.0.2", allowed_origins=("http://localhost:3000",)
    )
    names = ("127.0.0.1", "localhost", "[::1]", "127.0.0.2")
    assert set(hosts(settings)) == {h for n in names for h in (n, f"{n}:9000")}
    assert origins(settings) == (
        "http://localhost:9000",
        "http://127.0.0.1:9000",
        "http://localhost:3000",
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "fd00::5"])  # noqa: S104
def test_a_host_beyond_loopback_is_refused_without_keys(host: str) -> None:
    with pytest.raises(ValidationError, match=r"MLX_HUB_API_KEYS.*or use 127\.0\.0\.1"):
        GatewaySettings(host=host)


@pytest.mark.parametrize("host", ["localhost", "example.com", "", "127.1", "*"])
def test_a_host_that_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(ValidationError, match="not an address to listen on"):
        GatewaySettings(host=host)


@pytest.mark.parametrize(
    "origin", ["*", "null", "http://*.a.example", "http://a.example/", "HTTP://A", "localhost:3000"]
)
def test_an_inexact_origin_is_refused(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_HUB_ALLOWED_ORIGINS", f"http://ok.example, {origin}")
    with pytest.raises(ValidationError, match="exact origin"):
        GatewaySettings()


def test_origins_come_from_a_comma_separated_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_HUB_ALLOWED_ORIGINS", "http://a.example:1, https://[::1]:2 ,")
    assert GatewaySettings().allowed_origins == ("http://a.example:1", "https://[::1]:2")


def test_lua_literals_are_escaped() -> None:
    assert guard.lua({'a"\\': [True, "b"]}) == '{["a\\"\\\\"]={true,\n"b"}}'


def test_the_guard_knows_every_path_and_both_spellings() -> None:
    script = guard.script()
    assert '["pattern"]="^/training/jobs/[^/]+%:cancel$"' in script
    assert '["lora_rank"]={["name"]="lora_rank"}' in script
    assert '["loraRank"]={["name"]="lora_rank"}' in script
    assert '["verb"]="POST",["pattern"]="^/v1/chat/completions$",["scope"]="infer"' in script


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::", "192.168.1.5", "fd00::5"])
def test_envoy_accepts_what_is_rendered(host: str, tmp_path: Path) -> None:
    folder = tmp_path / 'a "folder" with: odd {name}'
    keys = (ApiKey("a", ("read",), "0" * 64),)
    config = render(GatewaySettings(host=host, port=8080, api_keys=keys), folder)
    argv = [*command(config), "--mode", "validate"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert FileDescriptorSet.FromString((folder / "api.binpb").read_bytes()).file


def test_envoy_looks_up_services_by_name(tmp_path: Path) -> None:
    settings = GatewaySettings(port=8080, trainer_host="host.docker.internal", registry_host="::1")
    config = render(settings, tmp_path)
    argv = [*command(config), "--mode", "validate"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    clusters = YAML(typ="safe").load(config)["static_resources"]["clusters"]
    found = {cluster["name"]: cluster for cluster in clusters}
    kinds = {name: cluster["type"] for name, cluster in found.items()}
    assert kinds == {
        "registry": "STATIC",
        "inference": "STATIC",
        "trainer": "STRICT_DNS",
        "system": "STRICT_DNS",
    }
    assert "host.docker.internal" in str(found["trainer"]["load_assignment"])
