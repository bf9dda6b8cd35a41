"""What compose starts is known to start: its files are sound, and its commands run natively."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from services.chassis.settings import HubSettings
from services.chassis.system import peers
from services.stack.ports import free_port
from services.stack.processes import Process
from services.stack.settings import PORT_FIELDS, environment_name
from tests.fixtures.composed import DEPLOY, SECRETS, composed
from tests.fixtures.observed import needs_promtool
from tests.gateway import rest

SERVICES: dict[str, dict[str, Any]] = composed()["services"]
OWN = ("registry", "trainer", "inference", "gateway")
START_SECONDS = 180


def checked(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_keeps_to_its_schema(tmp_path: Path) -> None:
    command = ("check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    checked(*command, str(DEPLOY / "compose.yaml"))
    # The schema's own reader does not know compose's tag for replacing a list.
    overlay = tmp_path / "compose.mac.yaml"
    overlay.write_text((DEPLOY / "compose.mac.yaml").read_text().replace("!override", ""))
    checked(*command, str(overlay))


@pytest.mark.parametrize("file", sorted(DEPLOY.glob("*Dockerfile")), ids=lambda path: path.name)
def test_dockerfiles(file: Path) -> None:
    checked("hadolint", str(file))
    text = file.read_text()
    assert re.search(r"^USER (?!0|root)", text, re.MULTILINE)
    ignored = file.with_name(f"{file.name}.dockerignore").read_text().splitlines()
    assert "*" in ignored, "nothing but what is listed reaches the image"


def test_the_image_holds_the_ui_and_all_that_builds_it_is_let_through() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    taken = [
        w
        for words in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE)
        for w in words.split()
    ]
    assert {"frontend", "scripts/ui.sh"} < set(taken)
    for name in taken:
        assert (DEPLOY.parent / name).exists(), name
        assert any(fnmatch(name, line.removeprefix("!")) for line in ignored if line[:1] == "!"), (
            name
        )
    for stage in ("hub", "hub-cuda"):
        made = text.partition(f"AS {stage}\n")[2].partition("FROM ")[0]
        assert "COPY --from=ui /opt/mlx-hub/gateway/ui /opt/mlx-hub/gateway/ui" in made, stage


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_held_tight(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r":v?\d+\.\d+", service["image"]), "an image without a version"
    once = name in ("migrations", "tools")
    assert service["restart"] == ("no" if once else "unless-stopped")
    unprobed = once or name in ("otel-collector", "jaeger", "mlflow")  # mlflow's is in its image
    assert ("healthcheck" in service) != unprobed
    published = {"gateway": "127.0.0.1:8080:8080", "grafana": "127.0.0.1:3000:3000"}
    assert service.get("ports", []) == [published[name]] if name in published else True
    assert ("ports" in service) == (name in published)


def test_no_secret_has_a_default() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    for name in SECRETS:
        uses = re.findall(rf"\$\{{{name}([^}}]*)\}}", text)
        assert uses
        assert {use[:2] for use in uses} == {":?"}
    example = (DEPLOY / ".env.example").read_text()
    assert all(f"\n{name}=\n" in example for name in SECRETS)


def test_prometheus_scrapes_every_service_by_its_name(tmp_path: Path) -> None:
    file = DEPLOY / "prometheus" / "prometheus.compose.yml"
    jobs = YAML(typ="safe").load(file)["scrape_configs"]
    found = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    names = {f"{name}_host": name for name in ("registry", "trainer", "inference")}
    for peer in peers(HubSettings(**names)):  # type: ignore[arg-type]
        assert found[peer.name] == [peer.metrics_address]


@needs_promtool
def test_prometheus_takes_its_configuration() -> None:
    checked("promtool", "check", "config", str(DEPLOY / "prometheus" / "prometheus.compose.yml"))


def test_the_collector_s_pipeline_is_whole() -> None:
    config = YAML(typ="safe").load(DEPLOY / "otel" / "collector.yaml")
    for pipeline in config["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) == set(config[kind])
    exporter = config["exporters"]["otlp"]["endpoint"].partition(":")[0]
    assert exporter in SERVICES
    sent = SERVICES["registry"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert sent.partition("://")[2].partition(":")[0] in SERVICES
    assert config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].endswith(sent[-5:])


def test_grafana_s_sources_are_services() -> None:
    files = list((DEPLOY / "grafana/provisioning/datasources").iterdir())
    sources = [s for f in files for s in YAML(typ="safe").load(f)["datasources"]]
    assert "jaeger" in {source["uid"] for source in sources}
    for source in sources:
        assert source["url"].partition("://")[2].partition(":")[0] in SERVICES


def test_mounted_files_are_there() -> None:
    mounts = [v for s in SERVICES.values() for v in s.get("volumes", []) if v.startswith("./")]
    assert mounts
    for mount in mounts:
        assert mount.endswith(":ro")
        assert (DEPLOY / mount.split(":")[0]).exists(), mount


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    """Choose ports, as the services of several containers have the same machine here."""
    taken: set[int] = set()
    return {environment_name(name): str(free_port(taken)) for name in PORT_FIELDS}


def natively(name: str, here: dict[str, str], log: Path) -> Process:
    """Give a container's process with its own command and environment, but for its addresses."""
    service = SERVICES[name]
    told = {key: str(value) for key, value in service["environment"].items()}
    kept = {k: os.environ[k] for k in ("PATH", "LANG") if k in os.environ}
    return Process(name, service["command"], log / f"{name}.log", env={**kept, **told, **here})


def probe(process: Process) -> int:
    words: list[str] = SERVICES[process.name]["healthcheck"]["test"]
    assert words[0] == "CMD"
    return subprocess.run(words[1:], env=process.env, check=False, timeout=60).returncode


@pytest.fixture
def here(empty_database_url: str, ports: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Give what is elsewhere on this machine than in the compose network."""
    hosts = dict.fromkeys((f"MLX_HUB_{n.upper()}_HOST" for n in OWN[:3]), "localhost")
    away = {"MLFLOW_TRACKING_URI": "", "OTEL_EXPORTER_OTLP_ENDPOINT": ""}
    home = {"MLX_HUB_HOME": str(tmp_path / "home"), "MLX_HUB_DRAIN_SECONDS": "0"}
    return {**ports, **hosts, **away, **home, "DATABASE_URL": empty_database_url}


@pytest.fixture
def migrated(here: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    migrations = natively("migrations", here, tmp_path)
    migrations.start()
    wait(lambda: not migrations.alive(), migrations)
    assert migrations.exit_code() == 0, migrations.last_lines()
    yield here


def wait(done: Any, process: Process) -> None:
    until = time.monotonic() + START_SECONDS
    while not done():
        assert time.monotonic() < until, process.last_lines()
        time.sleep(0.2)


def test_what_compose_starts_becomes_healthy(
    migrated: dict[str, str], tmp_path: Path, ports: dict[str, str]
) -> None:
    started = [natively(name, migrated, tmp_path) for name in OWN]
    try:
        assert probe(started[0]) == 1, "a probe that can't fail says nothing"
        for process in started:
            process.start()
        for process in started:
            wait(lambda p=process: not p.alive() or probe(p) == 0, process)
            assert process.alive(), process.last_lines()
        port, key = int(ports["MLX_HUB_PORT"]), SECRETS["MLX_HUB_API_KEYS"].rpartition(":")[2]
        assert rest.call(port, "GET", "/models").status == 401, "keys are asked for"
        answer = rest.call(port, "GET", "/models", headers={"x-api-key": key})
        assert (answer.status, answer.json["models"]) == (200, [])
    finally:
        for process in reversed(started):
            process.stop(30)


def test_the_gateway_of_compose_does_not_start_without_keys(
    here: dict[str, str], tmp_path: Path
) -> None:
    gateway = natively("gateway", {**here, "MLX_HUB_API_KEYS": ""}, tmp_path)
    gateway.start()
    wait(lambda: not gateway.alive(), gateway)
    assert gateway.exit_code() == 2
    assert "MLX_HUB_HOST: 0.0.0.0 can be reached" in gateway.last_lines()
