"""The admin UI's files, which Envoy serves by itself."""

import base64
import gzip
import hashlib
import http.client
from pathlib import Path

import pytest

from tests.gateway import rest
from tests.gateway.conftest import Start

SCRIPT = 'self.x = "a < b"'
HTML = f"<!doctype html><script>{SCRIPT}</script><script src='/ui/a.js'></script><p>here</p>"
FILES = {
    "index.html": HTML,
    "models/index.html": "<!doctype html><p>models</p>",
    "models/index.txt": "0:payload",
    "404.html": "<!doctype html><p>nowhere</p>",
    "_next/static/chunks/main-0123456789abcdef.js": "let a = 1;" * 100,
    "_next/static/chunks/plain.js": "let b = 2;",
    ".stamp": "not for the world",
}
FIXED = "/ui/_next/static/chunks/main-0123456789abcdef.js"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder as scripts/ui.sh leaves it."""
    folder = tmp_path_factory.mktemp("built")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def served(built: Path, start_gateway: Start) -> int:
    """Give the port of a gateway that serves these files, before services that are away."""
    return start_gateway({"registry": 1, "trainer": 1, "inference": 1}, ui_folder=built)


@pytest.fixture(scope="module")
def guarded_ui(built: Path, start_gateway: Start) -> int:
    """Give the port of one that wants keys."""
    ports = {"registry": 1, "trainer": 1, "inference": 1}
    return start_gateway(ports, ui_folder=built, api_keys="a:read:a-key-to-read-with")


def test_a_page_may_run_its_own_scripts_and_no_other(served: int) -> None:
    reply = rest.call(served, "GET", "/ui/")
    assert (reply.status, reply.text) == (200, HTML)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    rules = dict(rule.strip().split(" ", 1) for rule in policy_of(reply).split(";"))
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert rules["script-src"] == f"'self' 'sha256-{digest}'"
    assert (rules["default-src"], rules["frame-ancestors"]) == ("'none'", "'none'")
    assert (rules["connect-src"], rules["img-src"]) == ("'self'", "'self' data:")
    assert "unsafe-eval" not in policy_of(reply)


def policy_of(reply: rest.Reply) -> str:
    return reply.headers["content-security-policy"]


def test_what_is_named_by_its_content_is_kept_for_good(served: int) -> None:
    reply = rest.call(served, "GET", FIXED)
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert reply.headers["content-type"] == "text/javascript"
    plain = rest.call(served, "GET", "/ui/_next/static/chunks/plain.js").headers
    assert plain["cache-control"] == "no-cache"
    known = {"If-None-Match": plain["etag"]}
    again = rest.call(served, "GET", "/ui/_next/static/chunks/plain.js", headers=known)
    assert (again.status, again.text) == (304, "")


def test_who_takes_gzip_gets_it(served: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served, timeout=60)
    connection.request("GET", FIXED, headers={"Accept-Encoding": "br, gzip"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.getheader("content-encoding") == "gzip"
    assert response.getheader("vary") == "accept-encoding"
    assert gzip.decompress(body).decode() == FILES[FIXED.removeprefix("/ui/")]
    assert len(body) < 100


@pytest.mark.parametrize(
    ("path", "target"), [("/ui", "/ui/"), ("/ui/models?id=3", "/ui/models/?id=3"), ("/", "/ui/")]
)
def test_a_browser_is_led_to_the_page(path: str, target: str, served: int) -> None:
    reply = rest.call(served, "GET", path, headers={"Accept": "text/html,*/*"})
    assert reply.status in {302, 308}
    assert reply.headers["location"].endswith(target)
    assert rest.call(served, "GET", "/").status == 404


@pytest.mark.parametrize(
    "path",
    ["/ui/nowhere/", "/ui/.stamp", "/ui/../ui/.stamp", "/ui/%2e%2e/%2e%2e/etc/passwd", "/ui/x"],
)
def test_what_is_not_there_is_answered_by_a_page(path: str, served: int) -> None:
    reply = rest.call(served, "GET", path)
    assert reply.status == 404
    assert "not for the world" not in reply.text
    if reply.headers["content-type"].startswith("text/html"):
        assert reply.text == FILES["404.html"]


def test_only_reading_and_only_for_known_hosts(served: int) -> None:
    assert rest.call(served, "POST", "/ui/", {}).status == 404
    assert rest.call(served, "GET", "/ui/", headers={"Host": "evil.example"}).status == 403


def test_files_need_no_key_and_data_do(guarded_ui: int) -> None:
    assert rest.call(guarded_ui, "GET", "/ui/").status == 200
    assert rest.call(guarded_ui, "GET", "/ui/models/").status == 200
    assert rest.call(guarded_ui, "GET", "/models").status == 401


def test_a_hub_without_the_files_says_how_to_build_them(
    start_gateway: Start, tmp_path: Path
) -> None:
    port = start_gateway({"registry": 1, "trainer": 1, "inference": 1}, ui_folder=tmp_path / "none")
    reply = rest.call(port, "GET", "/ui/")
    assert "make ui" in reply.text
    assert rest.call(port, "GET", "/ui/models/").status == 404
