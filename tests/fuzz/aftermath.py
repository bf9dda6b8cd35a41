"""What must hold once the fuzzer is done: all live, none has grown fat, none has logged a fault."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.e2e.rest import call, eventually
from tests.fuzz.conftest import BASE, Target

# One of each: what a service takes at rest, with room for caches that fill, and no leak.
MAX_SERVICE_BYTES = 1_200_000_000
SERVICES = ("registry", "trainer", "inference")


def unharmed(target: Target) -> None:
    """Fail when a server broke, grew or complained, or no longer does its job."""
    told = complaints(target.stack.home / "logs")
    assert not told, "\n".join(told[:5])
    fat = {name: size for name, size in _sizes(target.stack.pid) if size > MAX_SERVICE_BYTES}
    assert not fat
    url = target.stack.url
    assert eventually(lambda: call(f"{url}/health").status == 200)
    made = call(f"{url}/models", {"name": f"after-{uuid.uuid4().hex[:8]}", "base_model": BASE})
    assert made.status == 201, made.text
    model = made.json["id"]
    assert call(f"{url}/models/{model}").json["base_model"] == BASE
    answer = call(f"{url}/inference", {"model_id": model, "prompt": "Hello.", "max_tokens": 3})
    assert answer.status == 200, answer.text


def complaints(logs: Path) -> list[str]:
    """Give the lines of the services' logs that tell of a fault of ours."""
    files = [logs / f"{name}.log" for name in SERVICES]
    return [line for file in files for line in file.read_text().splitlines() if is_fault(line)]


def is_fault(line: str) -> bool:
    """Tell whether a line is an error, a traceback or no line of the log's."""
    try:
        told = json.loads(line)
    except ValueError:
        return "Traceback" in line or "Error" in line
    return told["level"] in {"ERROR", "CRITICAL"} or "Traceback" in told.get("exception", "")


def _sizes(pid: int) -> Iterator[tuple[str, int]]:
    for child in psutil.Process(pid).children():
        words = " ".join(child.cmdline())
        name = next((n for n in SERVICES if f"services.{n}" in words), "")
        if name:
            yield name, child.memory_info().rss
