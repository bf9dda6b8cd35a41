"""Every edge at which something is written or committed, struck once by each kind of fault.

After each the system recovers: nothing half-written is taken for whole, a job ends once or says
why, and nothing is left that the next run or the reconciler does not remove.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from services.chassis.errors import HubError
from services.registry.__main__ import Registry
from services.registry.domain import StoredFile
from services.registry.messages.versions import publication
from services.registry.publisher import Publisher
from tests.faults.injection import (
    ENOSPC,
    KILL,
    KINDS,
    LOST,
    SESSION,
    Faults,
    Killed,
    injected,
    tell,
)
from tests.fixtures.publications import staged
from tests.fixtures.registry import RunningRegistry

SAVING = {
    "checkpoint.py:_seal < checkpoint.py:_write": {"open", "write"},
    "checkpoint.py:save_arrays < checkpoint.py:_write": {"save_safetensors"},
    "files.py:whole_folder < checkpoint.py:_write": {"mkdir", "fsync", "rename"},
    "checkpoint.py:_prune < checkpoint.py:save": {"unlink", "rmdir"},
    "checkpoint.py:save_arrays < adapters.py:export": {"save_safetensors"},
    "adapters.py:export": {"open", "write"},
    "files.py:whole_folder < adapters.py:export": {"mkdir", "fsync", "rename"},
}
PUBLISHING = {
    "artifacts.py:fresh_folder < artifacts.py:publish_version": {"mkdir"},
    "files.py:write_synced < artifacts.py:_copy_staged": {"open", "write"},
    "files.py:seal < files.py:write_synced": {"fsync"},
    "files.py:write_synced < artifacts.py:publish_version": {"open", "write"},
    "artifacts.py:publish_version": {"fsync"},
    "artifacts.py:place < artifacts.py:publish_version": {"rename", "fsync"},
    SESSION: {"COMMIT"},
}


# What the interceptor makes INTERNAL and DEPENDENCY_UNAVAILABLE of.
RAW = ("OSError", "OperationalError")


def expected(edges: dict[str, set[str]], kinds: Iterable[str]) -> set[tuple[str, str]]:
    named = {f"{place} {call}" for place, calls in edges.items() for call in calls}
    return {(edge, kind) for edge in named for kind in kinds}


@pytest.mark.timeout(1200)
def test_checkpoints_and_exports(capsys: pytest.CaptureFixture[str]) -> None:
    run = [sys.executable, "-m", "tests.faults.checkpoint_runs"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    hits = {(told["edge"], told["kind"]) for told in map(json.loads, done.stdout.splitlines())}
    tell(capsys, hits)
    assert hits == expected(SAVING, KINDS)


async def settled(hub: RunningRegistry) -> None:
    """Start another registry on the same data, as after the crash, that waits for nobody."""
    again = Registry(hub.settings.model_copy(update={"orphan_grace_seconds": 0}))
    try:
        await again.start()
    finally:
        await again.close()


@pytest.mark.timeout(1200)
async def test_publications(hub: RunningRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    model_id, dataset_id = (await hub.model()).id, await hub.dataset()
    hits: set[tuple[str, str]] = set()
    files = "artifacts.py:publish_version"
    for kind in (*KINDS, LOST, f"{LOST}, {KILL}"):
        number, hit = 0, True
        while hit:
            number += 1
            request = await staged(hub, model_id, dataset_id, f"{kind} {number}")
            faults = Faults(kind, number, {SESSION} if LOST in kind else {files})
            with injected(faults):
                reason = await published(hub, request)
            if hit := faults.hit is not None:
                hits.add((str(faults.hit), kind))
                await look(hub, request, faults.hit or "", reason, kind)
    tell(capsys, hits)
    wanted = expected(PUBLISHING, KINDS)
    assert wanted <= hits, wanted - hits
    assert {kind for edge, kind in hits if edge.endswith("COMMIT")} >= {*KINDS, LOST}


async def published(hub: RunningRegistry, request: Any) -> str:
    """Publish, below the rpc: one whose process is gone answers never. Give why it failed."""
    stores, artifacts = hub.registry.stores, hub.registry.artifacts
    kept = (stores.models, stores.bases, stores.datasets, stores.versions)
    try:
        await Publisher(*kept, artifacts, hub.settings.keys()).publish(publication(request))
    except HubError as error:
        return error.reason
    except (OSError, OperationalError, Killed) as error:
        return type(error).__name__
    return ""


async def look(hub: RunningRegistry, request: Any, edge: str, reason: str, kind: str) -> None:
    """Look what the fault left, settle it, and publish again: once, and whole."""
    job_id = request.training.job_id
    rows = hub.sql("SELECT count(*) FROM registry.versions WHERE job_id = %s", job_id)
    late = LOST in kind and edge.endswith("COMMIT")
    assert rows == [(int(late),)], (edge, kind, reason)
    # Cleaning up needs no space: only a disk at fault makes it fail.
    if kind == ENOSPC and not edge.endswith(("COMMIT", "unlink", "rmdir")):
        assert reason == "DISK_FULL", edge
    assert reason in ("DISK_FULL", "Killed", *RAW)
    await settled(hub)
    folders = {path.name for path in (hub.archive / "versions").iterdir()}
    paths = hub.sql("SELECT artifact_path FROM registry.versions")
    assert folders == {str(path).rpartition("/")[2] for (path,) in paths}
    version = await hub.stub.PublishVersion(request)
    assert version.job_id == job_id
    stored = [StoredFile(f.name, int(f.size_bytes), f.sha256) for f in request.files]
    hub.registry.artifacts.verify(version.artifact_path, stored)
