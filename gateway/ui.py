"""The admin UI as files that Envoy answers with: what `make ui` built, each under its own path."""

import base64
import gzip
import hashlib
import mimetypes
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from gateway.pages import Page, shared_headers

# Written by scripts/ui.sh, never committed; a wheel takes it along.
FOLDER = Path(str(resources.files(__package__) / "ui"))
PREFIX = "/ui"
_INLINE = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)
# Next names these by their content, so they never change.
_HASHED = re.compile(r"^_next/static/(chunks|css|media)/.*[.-][0-9a-f]{8,}\.|^_next/static/css/")
_KINDS = {".txt": "text/plain; charset=utf-8", ".woff2": "font/woff2", ".js": "text/javascript"}
_MISSING = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>MLX Model Hub</title>"
    "<h1>The admin UI has not been built</h1><p>Say <code>make ui</code> in the checkout, then "
    "start the hub again. The API serves meanwhile: <a href=/docs>its pages</a>.</p></html>"
)


def pages(folder: Path = FOLDER) -> tuple[Page, ...]:
    """Give every built file as a page, the start page first; one that says how to build if none is.

    The last one is for whatever path below the prefix nobody knows.
    """
    if not (folder / "index.html").is_file():
        missing = _page(f"{PREFIX}/", "index.html", _MISSING.encode())
        return (missing, _not_found(missing))
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    names = sorted(found, key=lambda name: (name != "index.html", name))
    shown = [_page(_path(name), name, found[name]) for name in names if name != "404.html"]
    return (*shown, _not_found(_page(f"{PREFIX}/404", "404.html", found["404.html"])))


def redirects(built: tuple[Page, ...]) -> Iterator[tuple[str, str]]:
    """Give each page's path without its last slash, and where it leads."""
    for page in built:
        if page.path.endswith("/") and not page.anywhere:
            yield page.path[:-1], page.path


def policy(html: str) -> str:
    """Say what a page may do: run its own files and exactly these inline scripts, call its origin.

    Styles may stand inline: the widgets place themselves by them, and they run nothing.
    """
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE.findall(html))
    scripts = " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


def _path(name: str) -> str:
    return f"{PREFIX}/{name.removesuffix('index.html')}"


def _page(path: str, name: str, body: bytes) -> Page:
    suffix = Path(name).suffix
    kind = _KINDS.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = shared_headers(kind)
    if suffix == ".html":
        headers |= {"content-type": "text/html; charset=utf-8"}
        headers |= {"content-security-policy": policy(body.decode())}
        headers |= {"referrer-policy": "no-referrer"}
    if fixed := bool(_HASHED.match(name)):
        headers["cache-control"] = "public, max-age=31536000, immutable"
    packed = None
    if suffix in {".css", ".html", ".js", ".json", ".svg", ".txt"}:
        headers["vary"] = "accept-encoding"
        packed = gzip.compress(body, 9, mtime=0)
    return Page(path, body, headers, packed=packed, fixed=fixed)


def _not_found(page: Page) -> Page:
    return Page(f"{PREFIX}/", page.body, page.headers, packed=page.packed, anywhere=True)
