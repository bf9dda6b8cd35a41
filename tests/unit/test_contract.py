"""The contract as a reader sees it: REST paths, gRPC-only calls, reasons, bounds."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from mlx_hub.error.v1 import error_reason_pb2
from mlx_hub.inference.v1 import inference_service_pb2
from mlx_hub.openai.v1 import openai_service_pb2
from mlx_hub.registry.v1 import (
    dataset_service_pb2,
    download_service_pb2,
    export_service_pb2,
    provenance_service_pb2,
    quality_service_pb2,
    registry_service_pb2,
    storage_service_pb2,
    training_record_service_pb2,
)
from mlx_hub.system.v1 import system_service_pb2
from mlx_hub.trainer.v1 import trainer_service_pb2

from gateway import scopes

ROOT = Path(__file__).resolve().parents[2]

FILES = (
    registry_service_pb2,
    dataset_service_pb2,
    download_service_pb2,
    export_service_pb2,
    quality_service_pb2,
    training_record_service_pb2,
    provenance_service_pb2,
    storage_service_pb2,
    trainer_service_pb2,
    inference_service_pb2,
    system_service_pb2,
    openai_service_pb2,
)
METHODS: list[MethodDescriptor] = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]

REST = {
    "POST /models": "CreateModel",
    "GET /models": "ListModels",
    "GET /models/{model_id}": "GetModel",
    "PATCH /models/{model_id}": "UpdateModel",
    "DELETE /models/{model_id}": "DeleteModel",
    "POST /models/{model_id}:rollback": "RollbackAlias",
    "DELETE /models/{model_id}/aliases/{alias}": "DeleteAlias",
    "GET /models/{model_id}/history": "GetModelHistory",
    "GET /models/{model_id}/versions": "ListModelVersions",
    "GET /models/{model_id}/versions/{version}": "GetModelVersion",
    "GET /models/{model_id}/versions/{version}/lineage": "GetLineage",
    "POST /models/{model_id}/versions/{version}:promote": "PromoteVersion",
    "POST /models/{model_id}/versions/{version}:archive": "ArchiveVersion",
    "POST /models/{model_id}/versions/{version}:restore": "RestoreVersion",
    "POST /models/{model_id}/evaluations": "RecordEvaluation",
    "GET /models/{model_id}/evaluations": "ListEvaluations",
    "GET /models/{model_id}/evaluations/{evaluation_id}": "GetEvaluation",
    "GET /models/{model_id}/quality": "GetQualityTrend",
    "GET /models/{model_id}/versions/{version}/samples": "ListVersionSamples",
    "PUT /models/{model_id}/gate": "SetPromotionGate",
    "GET /models/{model_id}/gate": "GetPromotionGate",
    "DELETE /models/{model_id}/gate": "DeletePromotionGate",
    "POST /models/{model_id}/versions/{version}:verify": "VerifyVersion",
    "GET /models/{model_id}/versions/{version}/statement": "GetStatement",
    "GET /models/{model_id}/versions/{version}/files": "ListVersionFiles",
    "GET /models/{model_id}/versions/{version}/files/{name}": "GetVersionFile",
    "POST /models/{model_id}/versions/{version}/exports": "ExportVersion",
    "GET /models/{model_id}/versions/{version}/exports/{export_id}/files/{name}": "GetExportFile",
    "GET /base-models": "ListBaseModels",
    "POST /datasets": "CreateDataset",
    "GET /datasets": "ListDatasets",
    "POST /datasets:upload": "UploadDataset",
    "GET /datasets/{dataset_id}": "GetDataset",
    "GET /datasets/{dataset_id}/report": "GetDatasetReport",
    "GET /datasets/{dataset_id}/file": "GetDatasetFile",
    "DELETE /datasets/{dataset_id}": "DeleteDataset",
    "GET /storage": "GetStorageReport",
    "POST /storage:reconcile": "ReconcileStorage",
    "POST /training/jobs": "CreateTrainingJob",
    "POST /training/jobs:forecast": "ForecastTraining",
    "GET /training/jobs": "ListTrainingJobs",
    "GET /training/jobs/{job_id}": "GetTrainingJob",
    "POST /training/jobs/{job_id}:cancel": "CancelTrainingJob",
    "POST /training/jobs/{job_id}:retry": "RetryTrainingJob",
    "POST /training/jobs/{job_id}:replay": "ReplayTrainingJob",
    "GET /training/jobs/{job_id}/events": "WatchTrainingJob",
    "GET /training/jobs/{job_id}/logs": "ListTrainingJobLogs",
    "GET /training/jobs/{job_id}/logs:tail": "TailTrainingJobLogs",
    "POST /inference": "Generate",
    "POST /inference/stream": "StreamGenerate",
    "GET /inference/generations": "ListGenerations",
    "GET /inference/generations/{generation_id}": "GetGeneration",
    "GET /inference/cache": "GetCacheStats",
    "DELETE /inference/cache": "ClearCache",
    "GET /inference/models": "ListEngines",
    "POST /inference/models/{model_id}:load": "LoadModel",
    "POST /inference/models/{model_id}:unload": "UnloadModel",
    "GET /health": "GetHealth",
    "GET /metrics": "GetMetrics",
    "GET /v1/models": "ListServedModels",
    "GET /v1/models/{model}": "GetServedModel",
    "POST /v1/completions": "CreateCompletion",
    "POST /v1/chat/completions": "CreateChatCompletion",
}
GRPC_ONLY = {"ResolveModel", "PublishVersion", "RecordTrainingFacts"}


def rest_of(method: MethodDescriptor) -> str | None:
    options: Any = method.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return None
    rule = options.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return f"{verb.upper()} {getattr(rule, verb)}"


def test_rest_paths_are_pinned() -> None:
    """buf's breaking check does not see a changed google.api.http path."""
    assert {r: m.name for m in METHODS if (r := rest_of(m))} == REST


def test_every_rpc_is_on_rest_or_listed() -> None:
    assert {m.name for m in METHODS if rest_of(m) is None} == GRPC_ONLY


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_reads_are_marked_safe_and_nothing_else_is_retried(method: MethodDescriptor) -> None:
    reads = method.name.startswith(("Get", "List", "Watch", "Tail", "Resolve"))
    safe = method.GetOptions().idempotency_level == 1
    assert safe == reads


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_every_rpc_has_exactly_one_scope(method: MethodDescriptor) -> None:
    rpc = f"{method.containing_service.full_name}/{method.name}"
    found = [scope for name, scope in scopes.entries() if name == rpc]
    assert len(found) == 1, f"give {rpc} one line in gateway/scopes.py"
    assert found[0] in (*scopes.SCOPES, scopes.OPEN)
    assert (found[0] == scopes.OPEN) == (method.name == "GetHealth")
    reads = method.GetOptions().idempotency_level == 1
    lists = method.name in ("ListServedModels", "GetServedModel")
    assert reads == (found[0] in (scopes.READ, scopes.OPEN) or lists)


def test_the_table_of_scopes_knows_nothing_else() -> None:
    public = {f"{m.containing_service.full_name}/{m.name}" for m in METHODS}
    extra = {rpc for rpc, _ in scopes.entries()} - public
    assert {rpc.rpartition(".")[0].partition(".")[0] for rpc in extra} == {"grpc"}


def messages(descriptor: Descriptor, seen: set[str]) -> list[Descriptor]:
    if descriptor.full_name in seen or not descriptor.full_name.startswith("mlx_hub."):
        return []
    seen.add(descriptor.full_name)
    inner = [f.message_type for f in descriptor.fields if f.message_type]
    return [descriptor, *(d for m in inner for d in messages(m, seen))]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_no_integer_turns_into_a_json_string(method: MethodDescriptor) -> None:
    seen: set[str] = set()
    wide = (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_SINT64)
    for message in [*messages(method.input_type, seen), *messages(method.output_type, seen)]:
        assert not [f.full_name for f in message.fields if f.type in wide]


def test_enums_start_unspecified() -> None:
    enums = re.compile(r"enum \w+ \{\s*(?://[^\n]*\s*)*(\w+) = (\d+)")
    for path in (ROOT / "proto/mlx_hub").rglob("*.proto"):
        for name, number in enums.findall(path.read_text()):
            assert name.endswith("_UNSPECIFIED"), path
            assert number == "0"


def test_every_reason_is_raised_somewhere() -> None:
    code = "\n".join(p.read_text() for p in (ROOT / "services").rglob("*.py"))
    code += "\n".join(p.read_text() for p in (ROOT / "gateway").iterdir() if p.is_file())
    assert [n for n in _reasons() if not re.search(rf"\b{n}\b", code)] == []


def test_every_rpc_documents_reasons_that_exist() -> None:
    known = set(_reasons())
    for path in (ROOT / "proto/mlx_hub").rglob("*_service.proto"):
        comments = " ".join(re.findall(r"//(.*)", path.read_text()))
        used = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", comments))
        assert used - known - {"STORAGE_ACTIVE_PATH", "STORAGE_ARCHIVE_PATH"} == set(), path


def _reasons() -> list[str]:
    values = error_reason_pb2.ErrorReason.DESCRIPTOR.values
    return [v.name.removeprefix("ERROR_REASON_") for v in values if v.number]


def test_every_service_can_describe_the_whole_contract() -> None:
    """Seen in a fresh process, which has imported no more than any service does."""
    code = (
        "from google.protobuf import descriptor_pool\n"
        "from services.chassis.reflected import REFLECTED\n"
        "for name in REFLECTED:\n"
        "    print(descriptor_pool.Default().FindServiceByName(name).full_name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    described = set(done.stdout.split())
    assert {method.containing_service.full_name for method in METHODS} <= described
