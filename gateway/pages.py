"""The files that Envoy answers with by itself: the OpenAPI document and its page."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape

from gateway.files import write_private

type Json = dict[str, Any]

# Each within this, which Envoy has to be told: it holds them in memory.
LARGEST = 4 * 1024 * 1024
_CODE = re.compile(r"`([^`]+)`")
_VERBS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Page:
    """One file, and the headers that it goes with."""

    path: str
    body: bytes
    headers: Mapping[str, str]
    packed: bytes | None = None
    """The body by gzip, for who takes that: packed once and not for each call."""
    fixed: bool = False
    """Its path is never given another content, so nobody has to ask again."""
    anywhere: bool = False
    """Stands for every path below its own that nothing else has, with 404."""

    @property
    def name(self) -> str:
        """Name the file that Envoy reads."""
        return "page-" + self.etag.strip('"')

    @property
    def etag(self) -> str:
        """Name the content."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:16]}"'


@cache
def pages() -> tuple[Page, ...]:
    """Give both files."""
    found = document()
    html, policy = _html(found)
    compact = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()
    shown = {"content-security-policy": policy, "referrer-policy": "no-referrer"}
    return (
        Page("/openapi.json", compact, shared_headers("application/json")),
        Page("/docs", html, shared_headers("text/html; charset=utf-8") | shown),
    )


def document() -> Json:
    """Read the document that `make proto` wrote."""
    text = resources.files(__package__).joinpath("openapi.json").read_text("utf-8")
    found: Json = json.loads(text)
    return found


@dataclass(frozen=True)
class Written:
    """A page, and where the files lie that Envoy answers with."""

    page: Page
    file: str
    packed: str


def write(folder: Path, shown: Iterable[Page]) -> tuple[Written, ...]:
    """Write the files of pages into a folder."""
    found = []
    for page in shown:
        path, packed = folder / page.name, folder / f"{page.name}.gz"
        write_private(path, page.body)
        if page.packed is not None:
            write_private(packed, page.packed)
        found.append(Written(page, str(path), "" if page.packed is None else str(packed)))
    return tuple(found)


def shared_headers(kind: str) -> dict[str, str]:
    """Give the headers of every page; `kind` is its content type."""
    return {
        "content-type": kind,
        "cache-control": "no-cache",
        "x-content-type-options": "nosniff",
    }


def _html(found: Json) -> tuple[bytes, str]:
    """Write the page; give it with the policy under which only its own style counts."""
    environment = Environment(
        loader=PackageLoader("gateway", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters |= {"prose": prose, "bounds": bounds, "resolve": _resolver(found)}
    style = resources.files(__package__).joinpath("docs.css").read_text("utf-8")
    text = environment.get_template("docs.html.j2").render(
        doc=found,
        groups=_groups(found),
        style=Markup(style),  # noqa: S704 (a file of ours)
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'"
    return text.encode(), f"{policy}; form-action 'none'; frame-ancestors 'none'"


def _groups(found: Json) -> list[tuple[Json, list[tuple[str, str, Json]]]]:
    """Put the operations under their tags."""
    every = [
        (verb, path, verbs[verb])
        for path, verbs in found["paths"].items()
        for verb in _VERBS
        if verb in verbs
    ]
    return [(tag, [e for e in every if tag["name"] in e[2]["tags"]]) for tag in found["tags"]]


def _resolver(found: Json) -> Any:
    def resolve(part: Json) -> Json:
        """Follow a reference to a shared answer."""
        for step in part["$ref"].split("/")[1:] if "$ref" in part else ():
            part = part[step] if step in part else found[step]
        return part

    return resolve


def prose(text: str) -> Markup:
    """Write a comment as HTML: backticks are code, blank lines and list items stay apart."""
    marked = _CODE.sub(r"<code>\1</code>", str(escape(text)))
    return Markup(marked.replace("\n\n", "<br><br>\n").replace("\n- ", "<br>• "))  # noqa: S704


def bounds(schema: Json) -> str:
    """Say in words what a schema asks of a value, but for its type."""
    found = []
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and abs(low) < 2**31 - 1:
        found.append(f"at least {low}")
    if (above := schema.get("exclusiveMinimum")) is not None:
        found.append(f"above {above}")
    if high is not None and high < 2**31 - 1:
        found.append(f"at most {high}")
    if (below := schema.get("exclusiveMaximum")) is not None:
        found.append(f"below {below}")
    for key, words in _WORDS.items():
        if key in schema:
            found.append(words.format(schema[key]))
    if "enum" in schema:
        found.append("one of " + ", ".join(json.dumps(value) for value in schema["enum"]))
    if "default" in schema:
        found.append(f"default {json.dumps(schema['default'])}")
    return "; ".join(found)


_WORDS = {
    "const": "always {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matches {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "uniqueItems": "no two alike",
    "maxProperties": "at most {} entries",
}
