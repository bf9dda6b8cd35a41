"""Write docs/metrics.md from the metrics that the services' processes register."""

import importlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from services.chassis import envoy

HEAD = """# Metrics

Made by `make docs` from the services' code; do not edit. Where to read them:
[Operations](operations.md#metrics).

Names and units follow Prometheus's conventions: counters end in `_total`, times are in seconds,
sizes in bytes, shares in ratios of 1. Label values are a closed set, or the ids and names of what
is on record here: never text from a request. Series of models, versions and base models that
nothing was counted in for an hour go, and there are at most 64 of each; a family without anything
to show has no samples. `GET /metrics` gives the metrics of all services and of the gateway with the
label `service` added. Each service also has the usual `process_…` and `python_…` of its process.
"""
HEADINGS = "| metric | type | labels | unit | meaning |\n|---|---|---|---|---|"
SECTIONS = {
    "every service": "services.chassis.server",
    "registry": "services.registry.__main__",
    "trainer": "services.trainer.__main__",
    "inference": "services.inference.__main__",
}
UNITS = {
    "timestamp_seconds": "seconds since 1970",
    "tokens_per_second": "tokens per second",
    "seconds": "seconds",
    "bytes": "bytes",
    "ratio": "of 1",
    "celsius": "°C",
    "watts": "watts",
    "tokens": "tokens",
}
UP = (
    "mlx_hub_service_up",
    "gauge",
    ("service",),
    "Whether the service's metrics could be read; only in `GET /metrics`.",
)


@dataclass(frozen=True, order=True)
class Family:
    """One row of a table."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str

    def row(self) -> str:
        """Render it."""
        labels = ", ".join(f"`{label}`" for label in self.labels)
        name = self.name.removesuffix("_total")
        unit = next((u for suffix, u in UNITS.items() if name.endswith(suffix)), "")
        return f"| `{self.name}` | {self.kind} | {labels} | {unit} | {self.about} |"


def families(collectors: Iterable[Any]) -> Iterator[Family]:
    """Give the families of some collectors, but not those that the library brings along."""
    for collector in collectors:
        kept: Iterable[Any] = (
            [collector] if isinstance(collector, MetricWrapperBase) else _described(collector)
        )
        for family in kept:
            [metric] = collector.describe() if family is collector else [family]
            total = "_total" if metric.type == "counter" else ""
            labels = tuple(family._labelnames)
            yield Family(metric.name + total, metric.type, labels, metric.documentation)


def _described(collector: Any) -> list[Any]:
    if not type(collector).__module__.startswith("services."):
        return []
    return list(collector.describe())


def tables() -> Iterator[str]:
    """Give a section for each service: what its modules register beyond those before."""
    known = set(REGISTRY._collector_to_names)
    for title, module in SECTIONS.items():
        importlib.import_module(module)
        now = set(REGISTRY._collector_to_names)
        found = sorted(families(now - known))
        known = now
        if title == "every service":
            found.append(Family(*UP))
        yield f"\n## Of {title}\n"
        yield HEADINGS
        yield from (family.row() for family in found)
    yield "\n## Of gateway\n\nEnvoy's own, under names of the hub's; only in `GET /metrics`.\n"
    yield HEADINGS
    yield from (Family(f.name, f.kind, f.labels, f.about).row() for f in envoy.FAMILIES)


def main() -> int:
    """Write the page to the file named on the command line."""
    Path(sys.argv[1]).write_text("\n".join((HEAD.rstrip(), *tables())) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
