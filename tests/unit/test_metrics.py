"""What the services show to Prometheus: named as written down, and bounded."""

import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.chassis.system import merge

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_names_what_the_services_register(tmp_path: Path) -> None:
    made = tmp_path / "metrics.md"
    command = [sys.executable, "-m", "scripts.generate_metrics", str(made)]
    subprocess.run(command, cwd=ROOT, check=True)
    written = (ROOT / "docs/metrics.md").read_text()
    assert made.read_text() == written, "docs/metrics.md is stale: make docs"


def text_of(seconds: float) -> str:
    """Give what a service would show: a counter, a histogram, awkward texts."""
    registry = CollectorRegistry()
    calls = Counter("calls", "Calls {ended}, by \\ and\nlines.", ["code"], registry=registry)
    calls.labels('a"} b{').inc()
    Histogram("seconds", "How long.", buckets=(1, 2), registry=registry).observe(seconds)
    return generate_latest(registry).decode()


def test_merging_keeps_every_family_once_and_tells_its_samples_apart() -> None:
    texts = {"registry": text_of(0.5), "trainer": text_of(1.5), "inference": ""}
    merged = merge(texts).decode()
    families = {f.name: f for f in text_string_to_metric_families(merged)}
    assert merged.count("# TYPE seconds histogram\n") == merged.count("# HELP seconds ") == 1
    for service, text in texts.items():
        for alone in text_string_to_metric_families(text):
            family = families[alone.name]
            assert (family.type, family.documentation) == (alone.type, alone.documentation)
            of = [s for s in family.samples if s.labels["service"] == service]
            labels = [{**s.labels, "service": service} for s in alone.samples]
            assert [s.labels for s in of] == labels
            assert [(s.name, s.value) for s in of] == [(s.name, s.value) for s in alone.samples]
    up = {s.labels["service"]: s.value for s in families["mlx_hub_service_up"].samples}
    assert up == {"registry": 1, "trainer": 1, "inference": 0}
