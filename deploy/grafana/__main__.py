"""Write the dashboards: `python -m deploy.grafana FOLDER`, a file for each."""

import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana import host, inference, overview, training

DASHBOARDS = {
    "overview": overview.make,
    "inference": inference.make,
    "training": training.make,
    "host": host.make,
}


def write(folder: Path) -> None:
    """Write them as Grafana reads them."""
    encoder = JSONEncoder(indent=2, sort_keys=True)
    for name, make in DASHBOARDS.items():
        (folder / f"{name}.json").write_text(encoder.encode(make().build()) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
