"""What a running stack shows to Prometheus: what is written down, as Prometheus likes it."""

import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.rest import call, eventually
from tests.fixtures.observed import needs_promtool
from tests.fixtures.stack import RunningStack

PAGE = Path(__file__).resolve().parents[2] / "docs/metrics.md"
SERVICES = ("registry", "trainer", "inference")
BROUGHT_ALONG = ("python_", "process_")


def documented(section: str) -> set[str]:
    """Name the families of a section of the page."""
    [rows] = re.findall(rf"^## Of {section}\n(.+?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    return set(re.findall(r"^\| `([a-z_]+)` \|", rows, re.M))


def families(text: str) -> list[str]:
    found = re.findall(r"^# TYPE (\S+) ", text, re.M)
    return [name for name in found if not name.startswith(BROUGHT_ALONG)]


@pytest.fixture(scope="module")
def texts(stack: RunningStack) -> dict[str, str]:
    """Let a model answer, and read each service's own port."""
    body = {"name": "measured", "base_model": stack.base_model}
    model = call(f"{stack.url}/models", body).json["id"]
    asked = {"model_id": model, "version": "base", "prompt": "One, two,", "max_tokens": 5}
    assert call(f"{stack.url}/inference", asked).status == 200
    ports = {name: stack.ports[f"{name}_metrics"] for name in SERVICES}

    def read(service: str) -> str:
        url = f"http://127.0.0.1:{ports[service]}/metrics"
        with urllib.request.urlopen(url, timeout=30) as reply:
            return str(reply.read().decode())

    told = 'mlx_hub_engine_inter_token_seconds_bucket{base_model="'
    assert eventually(lambda: told in read("inference"), timeout=60)
    assert eventually(lambda: "mlx_hub_host_cpu_ratio " in read("registry"), timeout=60)
    return {name: read(name) for name in SERVICES}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_shows_what_is_written_down(texts: dict[str, str], service: str) -> None:
    common = documented("every service") - {"mlx_hub_service_up"}
    found = families(texts[service])
    assert set(found) == documented(service) | common
    assert len(found) == len(set(found))
    assert "_created" not in texts[service]


def test_all_in_one_tells_the_services_apart(stack: RunningStack, texts: dict[str, str]) -> None:
    merged = call(f"{stack.url}/metrics").text
    everywhere = documented("every service").union(*map(documented, (*SERVICES, "gateway")))
    assert sorted(families(merged)) == sorted(everywhere)
    samples = [s for f in text_string_to_metric_families(merged) for s in f.samples]
    assert {s.labels["service"] for s in samples} == {*SERVICES, "gateway"}
    name = "mlx_hub_inference_time_per_token_seconds_count"
    answers = {s.labels["model_id"]: s.value for s in samples if s.name == name}
    [model] = call(f"{stack.url}/models?name_prefix=measured").json["models"]
    assert answers[str(model["id"])] >= 1


@needs_promtool
@pytest.mark.parametrize("service", [*SERVICES, "all"])
def test_prometheus_has_nothing_to_complain_about(
    stack: RunningStack, texts: dict[str, str], service: str
) -> None:
    text = texts.get(service) or call(f"{stack.url}/metrics").text
    command = ["promtool", "check", "metrics"]
    checked = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
