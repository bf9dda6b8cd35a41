"""What the services show to Prometheus: named as written down, and bounded."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_names_what_the_services_register(tmp_path: Path) -> None:
    made = tmp_path / "metrics.md"
    command = [sys.executable, "-m", "scripts.generate_metrics", str(made)]
    subprocess.run(command, cwd=ROOT, check=True)
    written = (ROOT / "docs/metrics.md").read_text()
    assert made.read_text() == written, "docs/metrics.md is stale: make docs"
