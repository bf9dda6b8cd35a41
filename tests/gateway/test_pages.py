"""The OpenAPI document and its page, which Envoy serves by itself."""

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.gateway import rest
from tests.gateway.backend import Backend
from tests.gateway.conftest import Start

COMMITTED = Path(__file__).resolve().parents[2] / "gateway/openapi.json"


def test_the_document_is_served_as_it_is_committed(gateway: int, backend: Backend) -> None:
    reply = rest.call(gateway, "GET", "/openapi.json")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json == json.loads(COMMITTED.read_text())
    assert not any(recorder.calls for recorder in backend.recorders.values())


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_what_is_known_is_not_sent_again(path: str, gateway: int) -> None:
    etag = rest.call(gateway, "GET", path).headers["etag"]
    reply = rest.call(gateway, "GET", path, headers={"If-None-Match": etag})
    assert (reply.status, reply.text, reply.headers["etag"]) == (304, "", etag)
    assert "location" not in reply.headers
    assert rest.call(gateway, "GET", path, headers={"If-None-Match": '"older"'}).status == 200


def test_the_page_needs_nothing_but_itself(gateway: int) -> None:
    reply = rest.call(gateway, "GET", "/docs")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    style = re.findall("<style>(.*?)</style>", reply.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert (len(style), f"'sha256-{digest}'" in policy) == (1, True)
    assert not re.findall(r"<script|\sstyle=|\son\w+=|src=|@import|url\(|https?://", reply.text)


def test_the_page_has_every_call_and_every_link_leads_somewhere(gateway: int) -> None:
    text = rest.call(gateway, "GET", "/docs").text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
    document = json.loads(COMMITTED.read_text())
    calls = [call["operationId"] for verbs in document["paths"].values() for call in verbs.values()]
    assert set(calls) <= set(ids)


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_pages_are_guarded_and_only_read(path: str, gateway: int) -> None:
    assert rest.call(gateway, "POST", path, {}).status == 404
    assert rest.call(gateway, "GET", f"{path}/x").status == 404
    assert rest.call(gateway, "GET", path, headers={"Host": "evil.example"}).status == 403
    assert rest.call(gateway, "GET", path, headers={"Origin": "http://evil.example"}).status == 403


def test_pages_are_there_while_no_service_is(start_gateway: Start) -> None:
    port = start_gateway({"registry": 1, "trainer": 1, "inference": 1})
    assert rest.call(port, "GET", "/openapi.json").status == 200
