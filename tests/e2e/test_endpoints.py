"""The documented endpoints, by REST, on the real model; and the errors a user meets."""

import json
from typing import Any

import pytest
from mlx_hub.client import Hub

from tests.e2e.rest import call, eventually, frames
from tests.fixtures.stack import RunningStack

QUESTION = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}


@pytest.fixture(scope="module")
def model(stack: RunningStack) -> Any:
    """Register a model, once."""
    body = {"name": "endpoints", "base_model": stack.base_model, "tags": {"team": "a"}}
    reply = call(f"{stack.url}/models", {**body, "request_id": "endpoints-1"})
    assert reply.status == 201
    assert reply.headers["location"] == f"/models/{reply.json['id']}"
    again = call(f"{stack.url}/models", {**body, "request_id": "endpoints-1"})
    assert again.json["id"] == reply.json["id"]
    return reply.json


@pytest.fixture(scope="module")
def version(stack: RunningStack, model: Any) -> Any:
    """Train a short adapter through REST, watching it over SSE."""
    rows = [{"prompt": f"Number {n}?", "completion": f"The number is {n}."} for n in range(12)]
    text = "\n".join(json.dumps(row) for row in rows) + "\n"
    stack.dataset_root.mkdir(parents=True, exist_ok=True)
    (stack.dataset_root / "numbers.jsonl").write_text(text)
    dataset = call(f"{stack.url}/datasets", {"name": "numbers", "path": "numbers.jsonl"})
    assert dataset.status == 201
    assert (dataset.json["rows"], dataset.json["schema"]) == (12, "DATASET_SCHEMA_COMPLETION")
    payload = {
        "model_id": model["id"],
        "dataset_id": dataset.json["id"],
        "lora_rank": 4,
        "learning_rate": 0.0005,
        "epochs": 1,
        "batch_size": 4,
        "seed": 7,
    }
    job = call(f"{stack.url}/training/jobs", payload)
    assert job.status == 201
    path = f"{stack.url}/training/jobs/{job.json['id']}/events?after_sequence=0"
    events = [event for _, event in frames(path, timeout=300)]
    sequences = [event["sequence"] for event in events]
    assert sequences == sorted(set(sequences))
    assert any("step" in event for event in events)
    last = events[-1]["job"]
    assert last["status"] == "JOB_STATUS_COMPLETED", last
    assert {k: last[k] for k in ("lora_rank", "epochs", "batch_size", "seed")} == {
        k: payload[k] for k in ("lora_rank", "epochs", "batch_size", "seed")
    }
    return last


def test_models_are_listed_and_fetched(stack: RunningStack, model: Any) -> None:
    listed = call(f"{stack.url}/models?name_prefix=endp&tag=team%3Da&page_size=1").json
    assert [m["name"] for m in listed["models"]] == ["endpoints"]
    got = call(f"{stack.url}/models/{model['id']}").json
    documented = {"id", "name", "task_type", "description", "base_model", "tags", "created_at"}
    assert documented <= set(got)


def test_the_version_is_listed_traced_and_in_the_history(
    stack: RunningStack, model: Any, version: Any
) -> None:
    url = f"{stack.url}/models/{model['id']}"
    versions = call(f"{url}/versions").json["versions"]
    assert [(v["version"], v["status"]) for v in versions] == [(1, "VERSION_STATUS_READY")]
    assert call(f"{url}/versions/latest").json["checksum"] == versions[0]["checksum"]
    lineage = call(f"{url}/versions/1/lineage").json
    assert lineage["adapter_digest"] == versions[0]["checksum"]
    assert lineage["training"]["job_id"] == version["id"]
    assert len(lineage["dataset"]["digest"]) == len(lineage["base_model"]["digest"]) == 64
    assert lineage["training"]["parameters"]["seed"] == "7"
    types = [e["type"] for e in call(f"{url}/history").json["events"]]
    # val_loss, and loss and perplexity of base and version.
    happened = (*["EVALUATED"] * 5, "TRAINED", "CREATED")
    assert types == [f"MODEL_EVENT_TYPE_{kind}" for kind in happened]


def test_a_dataset_is_reported_on_before_it_is_trained_on(
    stack: RunningStack, model: Any, version: Any
) -> None:
    ids = {"model_id": model["id"], "dataset_id": version["dataset_id"]}
    url = f"{stack.url}/datasets/{ids['dataset_id']}/report?model_id={ids['model_id']}"
    report = call(f"{url}&seed=7").json
    assert report["rows"] == report["train_rows"] + report["valid_rows"] == 12
    data = call(f"{stack.url}/models/{ids['model_id']}/versions/1/lineage").json["dataset"]
    assert (report["train_rows"], report["valid_rows"]) == (data["train_rows"], data["valid_rows"])
    assert report["tokens"]["total"] > report["tokens"]["trained"] > 0
    short = call(f"{url}&max_seq_length=8").json
    assert [warning["code"] for warning in short["warnings"]] == ["MASKED_ROWS", "TRUNCATION"]
    refused = call(f"{stack.url}/training/jobs", {**ids, "max_seq_length": 8})
    [info, *_] = refused.json["details"]
    assert (refused.status, info["reason"]) == (400, "UNTRAINABLE")
    assert info["metadata"]["lines"] == ",".join(str(line) for line in range(1, 13))
    shown = stack.mlx_hub("datasets", "report", "numbers", "--model", "endpoints", "--seed", "7")
    assert shown.returncode == 0, shown.stderr
    assert "tokens of a row" in shown.stdout


def test_models_change_and_aliases_move(stack: RunningStack, model: Any, version: Any) -> None:
    url = f"{stack.url}/models/{model['id']}"
    changed = call(url, {"description": "numbers", "update_mask": "description"}, "PATCH")
    assert (changed.status, changed.json["description"]) == (200, "numbers")
    promoted = call(f"{url}/versions/1:promote", {"alias": "champion"})
    assert promoted.json["aliases"] == ["champion", "latest"]
    assert call(f"{url}/versions/champion").json["version"] == 1
    refused = call(f"{url}/versions/1:archive", {})
    assert refused.json["details"][0]["reason"] == "VERSION_HAS_ALIAS"
    assert call(url, method="DELETE").json["details"][0]["reason"] == "MODEL_HAS_VERSIONS"


def test_a_gate_stops_a_version_that_is_worse(
    stack: RunningStack, model: Any, version: Any
) -> None:
    url = f"{stack.url}/models/{model['id']}"
    data = {"metric": "val_loss", "dataset_id": version["dataset_id"]}
    split = {"split": "EVALUATION_SPLIT_VALID"}
    gate = {**data, **split, "direction": "METRIC_DIRECTION_LOWER_IS_BETTER", "tolerance": 0.01}
    assert call(f"{url}/gate", gate, "PUT").status == 200
    base = {**data, **split, "version": "base", "value": 0.0625, "how": {"by": "nobody"}}
    recorded = call(f"{url}/evaluations", base)
    assert recorded.status == 201
    assert call(stack.url + recorded.headers["location"]).json == recorded.json
    [series] = call(f"{url}/quality?metric=val_loss").json["series"]
    value = series["points"][0]["value"]
    assert (series["base_value"], [p["version"] for p in series["points"]]) == (0.0625, [1])
    refused = call(f"{url}/versions/1:promote", {"alias": "gated"})
    assert refused.status == 400
    detail = refused.json["details"][0]
    assert (detail["reason"], detail["metadata"]["reference"]) == ("PROMOTION_REFUSED", "base")
    assert float(detail["metadata"]["worse_by"]) == pytest.approx(value - 0.0625)
    assert call(f"{url}/gate", method="DELETE").status == 200
    assert call(f"{url}/gate").json["details"][0]["reason"] == "GATE_NOT_FOUND"
    assert call(f"{url}/versions/1:promote", {"alias": "gated"}).status == 200


def test_a_version_is_verified_archived_and_restored(
    stack: RunningStack, model: Any, version: Any
) -> None:
    url = f"{stack.url}/models/{model['id']}"
    verified = call(f"{url}/versions/1:verify", {}).json
    assert verified["intact"], [check for check in verified["checks"] if not check["ok"]]
    statement = call(f"{url}/versions/1/statement")
    assert statement.headers["content-type"] == "application/vnd.in-toto+json"
    assert statement.json["_type"] == "https://in-toto.io/Statement/v1"
    asked = {**QUESTION, "model_id": model["id"], "version": "1", "max_tokens": 4}
    answer = call(f"{stack.url}/inference", asked).json
    for alias in call(f"{url}/versions/1").json["aliases"]:
        if alias != "latest":
            assert call(f"{url}/aliases/{alias}", method="DELETE").status == 200
    assert call(f"{url}/versions/1:archive", {}).json["status"] == "VERSION_STATUS_ARCHIVED"
    # What a number stands for is remembered for two seconds.
    refused = eventually(lambda: call(f"{stack.url}/inference", asked).json.get("details"))
    assert refused[0]["reason"] == "VERSION_NOT_READY"
    traced = call(f"{stack.url}/inference/generations/{answer['generation_id']}").json
    assert traced["provenance"] == answer["provenance"]
    assert traced["lineage"] == call(f"{url}/versions/1/lineage").json
    assert traced["lineage"]["training"]["job_id"] == version["id"]
    why = stack.mlx_hub("why", answer["generation_id"])
    assert why.returncode == 0, why.stderr
    for part in (version["id"], traced["lineage"]["dataset"]["digest"], answer["tokens"]):
        assert str(part) in why.stdout
    assert stack.mlx_hub("verify", f"{model['name']}:1").returncode == 0, "also in the cold tier"
    assert call(f"{url}/versions/1:restore", {}).json["status"] == "VERSION_STATUS_READY"
    health = stack.mlx_hub("doctor", "--reconcile")
    assert health.returncode == 0, health.stdout


def test_a_deleted_model_is_gone_and_its_name_free(stack: RunningStack) -> None:
    body = {"name": "short-lived", "base_model": stack.base_model}
    first = call(f"{stack.url}/models", body).json["id"]
    asked = {**QUESTION, "model_id": first, "max_tokens": 1}
    answer = call(f"{stack.url}/inference", asked).json
    deleted = call(f"{stack.url}/models/{first}", method="DELETE")
    assert (deleted.status, deleted.json) == (200, {})
    assert call(f"{stack.url}/models/{first}").status == 404
    assert call(f"{stack.url}/models", body).status == 201
    traced = call(f"{stack.url}/inference/generations/{answer['generation_id']}").json
    assert traced["lineage"]["base_model"]["digest"] == answer["provenance"]["base_digest"]


def test_jobs_and_datasets_are_listed(stack: RunningStack, version: Any) -> None:
    jobs = call(f"{stack.url}/training/jobs?model_id={version['model_id']}").json["jobs"]
    assert [j["id"] for j in jobs] == [version["id"]]
    job = call(f"{stack.url}/training/jobs/{version['id']}").json
    assert job["progress"]["step"] == job["progress"]["total_steps"] > 0
    names = [d["name"] for d in call(f"{stack.url}/datasets").json["datasets"]]
    assert "numbers" in names


@pytest.mark.parametrize("which", ["base", "1", "latest", ""])
def test_base_and_version_answer_with_provenance(
    stack: RunningStack, model: Any, version: Any, which: str
) -> None:
    body = {"model_id": model["id"], "version": which, "max_tokens": 8, **QUESTION}
    reply = call(f"{stack.url}/inference", body)
    assert reply.status == 200, reply.text
    answer = reply.json
    assert answer["text"]
    assert 0 < answer["tokens"] <= 8
    assert answer["latency_ms"] >= answer["ttft_ms"] > 0
    expected = 0 if which == "base" else 1
    assert answer["provenance"]["version"] == expected
    assert bool(answer["provenance"]["adapter_digest"]) == bool(expected)


def test_a_stream_comes_frame_by_frame_and_ends_with_its_completion(
    stack: RunningStack, model: Any
) -> None:
    story = {"prompt": "Once upon a time", "temperature": 0, "max_tokens": 48}
    body = {"model_id": model["id"], "version": "base", **story}
    arrived = list(frames(f"{stack.url}/inference/stream", body))
    assert all("delta" in event for _, event in arrived[:-1])
    completion = arrived[-1][1]["completion"]
    assert completion["text"] == "".join(event["delta"]["text"] for _, event in arrived[:-1])
    moments = {moment for moment, _ in arrived}
    assert len(moments) > 2, "frames came in one burst"


def test_the_python_client_speaks_grpc_through_the_same_port(
    stack: RunningStack, model: Any
) -> None:
    with Hub(f"127.0.0.1:{stack.port}") as hub:
        assert hub.models.get(model["id"]).name == "endpoints"
        with hub.stream(model["id"], prompt="One, two,", max_tokens=4, version="base") as stream:
            text = "".join(stream)
        assert text == stream.completion.text


def test_health_and_metrics_speak_of_every_service(stack: RunningStack) -> None:
    health = call(f"{stack.url}/health")
    assert health.status == 200
    assert [s["name"] for s in health.json["services"]] == ["registry", "trainer", "inference"]
    metrics = call(f"{stack.url}/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for service in ("registry", "trainer", "inference"):
        assert f'mlx_hub_service_up{{service="{service}"}} 1.0' in metrics.text


def test_mlflow_catches_up(stack: RunningStack, model: Any, version: Any) -> None:
    def synced() -> Any:
        got = call(f"{stack.url}/models/{model['id']}").json
        return got["mlflow_sync"] == "MLFLOW_SYNC_SYNCED" and got["mlflow_experiment_id"]

    assert eventually(synced, timeout=90)


ERRORS = [
    ("/models/999", None, 404, "MODEL_NOT_FOUND"),
    ("/models", {"name": "x", "base_model": "nope"}, 404, "BASE_MODEL_NOT_FOUND"),
    ("/models", {"name": "Bad Name", "base_model": "x"}, 400, "INVALID_FIELD"),
    ("/models", {"name": 5}, 400, None),
    ("/models", {"name": "y", "base_modell": "x"}, 400, None),
    ("/models", b"{", 400, None),
    ("/models?page_size=-1", None, 400, "INVALID_FIELD"),
    ("/models?nope=1", None, 400, None),
    ("/datasets", {"name": "d", "path": "../etc/passwd"}, 400, "DATASET_FILE_UNREADABLE"),
    ("/training/jobs/999", None, 404, "JOB_NOT_FOUND"),
    ("/training/jobs/999:retry", {}, 404, "JOB_NOT_FOUND"),
    ("/training/jobs/999:replay", {}, 404, "JOB_NOT_FOUND"),
    ("/training/jobs", {"model_id": 1, "dataset_id": 1, "epochs": 0}, 400, "INVALID_FIELD"),
    ("/inference", {"model_id": 999, "prompt": "x"}, 404, "MODEL_NOT_FOUND"),
    ("/inference/generations/none", None, 404, "GENERATION_NOT_FOUND"),
    ("/inference", {"model_id": 1, "prompt": "x", "version": "99"}, 404, "VERSION_NOT_FOUND"),
    ("/inference", {"model_id": 1, "prompt": "x", "max_tokens": 30000}, 400, "PROMPT_TOO_LONG"),
    ("/nowhere", None, 404, None),
]


@pytest.mark.parametrize(("path", "body", "status", "reason"), ERRORS)
def test_errors_are_json_and_name_their_reason(
    stack: RunningStack, model: Any, path: str, body: Any, status: int, reason: str | None
) -> None:
    reply = call(f"{stack.url}{path}", body)
    assert reply.status == status, reply.text
    assert reply.headers["content-type"].startswith("application/json")
    assert set(reply.json) == {"code", "message", "details"}
    assert reply.json["message"]
    if reason:
        assert reply.json["details"][0]["reason"] == reason
        assert reply.json["details"][0]["domain"] == "mlx-hub"
