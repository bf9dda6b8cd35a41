"""Prometheus beside the hub: the operator's own binary, with a configuration of the real ports."""

import json
import shutil
from pathlib import Path
from typing import Any

from services.chassis import envoy
from services.chassis.system import peers
from services.stack.errors import StackError
from services.stack.ports import HOST
from services.stack.processes import Process
from services.stack.settings import StackSettings

NAME = "prometheus"
RULES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "alerts.yml"


def binary() -> str:
    """Find the program; raise StackError with what to do where there is none."""
    if found := shutil.which(NAME):
        return found
    raise StackError(
        "`--observability` needs a `prometheus` program on PATH, 2.42 or newer. Install it "
        "(`apt install prometheus`, `brew install prometheus`), or start without it: "
        "each service's metrics can be read at its own port, and all of them at /metrics."
    )


def process(settings: StackSettings, logs: Path) -> Process:
    """Write the configuration below the home, and give the child that reads it."""
    folder = settings.home / NAME
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(render(settings))
    return Process(NAME, command(settings, folder, config), logs / f"{NAME}.log")


def command(settings: StackSettings, folder: Path, config: Path) -> list[str]:
    """Give the command line: words that both Prometheus 2.42 and 3 know."""
    address = f"{HOST}:{settings.prometheus_port}"
    return [
        binary(),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--storage.tsdb.retention.time={settings.prometheus_retention_days}d",
        f"--storage.tsdb.retention.size={settings.prometheus_retention_bytes // 2**20}MB",
        "--log.format=json",
        f"--web.listen-address={address}",
        # By default it lets every web page that this machine's browser shows read it.
        f"--web.cors.origin=http://{address}",
    ]


def render(settings: StackSettings) -> str:
    """Give the configuration. It is JSON, which is YAML, so that no text needs quoting."""
    every = f"{settings.scrape_seconds}s"
    ports = {peer.name: peer.metrics_port for peer in peers(settings)}
    ports[NAME] = settings.prometheus_port
    config: dict[str, Any] = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            *({"job_name": name, "static_configs": _at(port)} for name, port in ports.items()),
            {
                "job_name": "gateway",
                "metrics_path": envoy.PATH,
                "static_configs": _at(settings.gateway_metrics_port),
                # Of hundreds of families.
                "metric_relabel_configs": [
                    {"source_labels": ["__name__"], "regex": envoy.KEPT, "action": "keep"}
                ],
            },
        ],
    }
    return json.dumps(config, indent=2) + "\n"


def _at(port: int) -> list[dict[str, list[str]]]:
    return [{"targets": [f"{HOST}:{port}"]}]
