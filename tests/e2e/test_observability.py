"""Every query of every dashboard, asked of a Prometheus that scraped the stack while it worked."""

import json
import math
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.stack import prometheus, readiness
from services.stack.ports import free_port
from services.stack.settings import PORT_FIELDS, StackSettings
from tests.e2e.rest import call, eventually, frames
from tests.fixtures.observed import needs_prometheus, queries, rules
from tests.fixtures.stack import RunningStack
from tests.gateway import rest

LONG = "Tell me about the capital of France, and about its rivers and bridges. " * 12
SCRAPE_SECONDS = 1
# A rate needs two scrapes of a series.
TWO_SCRAPES = 2.5 * SCRAPE_SECONDS


@pytest.fixture
def watcher(stack: RunningStack, tmp_path: Path) -> Iterator[str]:
    """Run Prometheus on the stack, as `--observability` does; give its query's URL."""
    ports = {name: stack.ports[name.removesuffix("_port")] for name in PORT_FIELDS[1:]}
    settings = StackSettings(
        home=tmp_path, prometheus_port=free_port(set()), scrape_seconds=SCRAPE_SECONDS, **ports
    )
    process = prometheus.process(settings, tmp_path)
    process.start()
    try:
        eventually(lambda: readiness.prometheus_serves(settings))
        yield f"http://127.0.0.1:{settings.prometheus_port}/api/v1"
    finally:
        process.stop(20)


@needs_prometheus
def test_every_query_and_rule_gives_numbers_after_work(stack: RunningStack, watcher: str) -> None:
    model = _model(stack)
    _refuse(stack, model)
    _serve(stack, model, "base")
    _train(stack, model)
    for _ in range(2):  # the first makes the series, the second what they count
        for version in ("base", "1"):
            _serve(stack, model, version)
        time.sleep(TWO_SCRAPES)
    asked = {(q.dashboard, q.panel, q.ref): q.expr for q in queries()}
    asked |= {("rules", rule["record"], ""): rule["record"] for rule in rules("record")}
    assert len(asked) > 100
    lacking = asked

    def answered() -> bool:
        nonlocal lacking
        lacking = {name: expr for name, expr in lacking.items() if not _numbers(watcher, expr)}
        return not lacking

    try:
        eventually(answered, timeout=30)
    except AssertionError:
        pytest.fail(f"no numbers for {json.dumps([[*k, v] for k, v in lacking.items()], indent=1)}")
    assert _unhealthy(watcher) == []


def _model(stack: RunningStack) -> int:
    made = call(f"{stack.url}/models", {"name": "watched", "base_model": stack.base_model})
    assert made.status == 201, made.text
    return int(made.json["id"])


def _train(stack: RunningStack, model: int) -> None:
    rows = [{"prompt": f"Letter {n}?", "completion": f"The letter is {n}."} for n in range(8)]
    stack.dataset_root.mkdir(parents=True, exist_ok=True)
    file = stack.dataset_root / "watched.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = call(f"{stack.url}/datasets", {"name": "watched", "path": file.name}).json
    payload = {"model_id": model, "dataset_id": dataset["id"], "lora_rank": 2, "epochs": 2}
    job = call(f"{stack.url}/training/jobs", {**payload, "batch_size": 4, "samples": 0}).json
    events = [e for _, e in frames(f"{stack.url}/training/jobs/{job['id']}/events", timeout=300)]
    assert events[-1]["job"]["status"] == "JOB_STATUS_COMPLETED", events[-1]


def _asked(model: int, version: str) -> dict[str, Any]:
    return {"model_id": model, "version": version, "prompt": LONG, "max_tokens": 6}


def _serve(stack: RunningStack, model: int, version: str) -> None:
    reply = call(f"{stack.url}/inference", _asked(model, version))
    assert reply.status == 200, reply.text


def _refuse(stack: RunningStack, model: int) -> None:
    """Ask with too little patience for an engine that has to be loaded first."""
    call(f"{stack.url}/inference/models/{model}:unload", {})
    headers = {"grpc-timeout": "300m"}  # milliseconds
    refused = rest.call(stack.port, "POST", "/inference", _asked(model, "base"), headers)
    assert refused.json["details"][0]["reason"] == "DEADLINE_PASSED", refused.text


def _numbers(api: str, expr: str) -> bool:
    """Tell whether an expression gives at least one number, which NaN is not."""
    reply = call(f"{api}/query?{urllib.parse.urlencode({'query': expr})}")
    assert reply.status == 200, f"{expr}: {reply.text}"
    values = [float(found["value"][1]) for found in reply.json["data"]["result"]]
    return any(not math.isnan(value) for value in values)


def _unhealthy(api: str) -> list[str]:
    groups = call(f"{api}/rules").json["data"]["groups"]
    return [r["name"] for group in groups for r in group["rules"] if r["health"] != "ok"]
