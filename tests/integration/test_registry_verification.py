"""Verification through the stub: every byte read again, damage told, signatures judged."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from mlx_hub.registry.v1 import provenance_service_pb2 as pb
from mlx_hub.registry.v1 import publication_pb2, version_pb2
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb

from services.chassis.errors import DataLoss, NotFound
from services.registry import papers
from services.registry.__main__ import Registry
from services.registry.settings import RegistrySettings
from services.registry.signing import generate
from tests.fixtures.flips import flips
from tests.fixtures.measured import measured
from tests.fixtures.publications import published, staged
from tests.fixtures.registry import RunningRegistry, failure

type Made = tuple[int, int]
OWN = ["adapters.safetensors", "adapter_config.json", "manifest.json", "statement.json"]


@pytest.fixture
async def made(hub: RunningRegistry) -> Made:
    """Register a model and a dataset."""
    return (await hub.model()).id, await hub.dataset()


async def verify(hub: RunningRegistry, version: str = "1") -> pb.Verification:
    return await hub.provenance.VerifyVersion(pb.VerifyVersionRequest(model_id=1, version=version))


def wrong(verification: pb.Verification) -> list[str]:
    assert verification.intact == all(check.ok for check in verification.checks)
    assert all(check.ok == (not check.message) for check in verification.checks)
    return [check.what for check in verification.checks if not check.ok]


def stored(hub: RunningRegistry, version: version_pb2.ModelVersion, name: str) -> Path:
    """Find a file of the version, its base model or its dataset."""
    if name in OWN:
        return hub.archive / version.artifact_path / name
    if name == "dataset":
        return next((hub.archive / "datasets").iterdir())
    return next((hub.archive / "base").iterdir()) / name


async def test_an_intact_version_is_checked_whole(hub: RunningRegistry, made: Made) -> None:
    version = await published(hub, *made)
    verdict = {"cause": "request", "kind": "version", "verdict": "intact"}
    before = measured("storage_verifications_total", **verdict)
    told = await verify(hub, "latest")
    assert measured("storage_verifications_total", **verdict) == before + 1
    assert (told.model_id, told.model_name, told.version) == (1, "bot", 1)
    assert told.intact
    assert (told.signature, told.key_id) == (pb.SIGNATURE_STATUS_UNSIGNED, "")
    checks = {check.what: check for check in told.checks}
    base = stored(hub, version, "model.safetensors").parent
    assert list(checks) == [
        *OWN,
        "the version's folder",
        "what manifest.json says",
        "what statement.json says",
        "signature",
        *(f"base model tiny: {path.name}" for path in sorted(base.iterdir())),
        "base model tiny",
        "dataset data",
    ]
    assert checks["the version's folder"].found == Path(version.artifact_path).name
    assert checks["base model tiny"].found == hub.base_digest
    assert all(check.ok and check.found for check in told.checks)


FILES = {
    **{name: [name, "the version's folder"] for name in OWN},
    "model.safetensors": ["base model tiny: model.safetensors", "base model tiny"],
    "tokenizer.json": ["base model tiny: tokenizer.json", "base model tiny"],
    "config.json": ["base model tiny: config.json", "base model tiny"],
    "dataset": ["dataset data"],
}


@pytest.mark.parametrize("name", FILES)
async def test_any_flipped_bit_is_told_whatever_the_time_says(
    hub: RunningRegistry, made: Made, name: str
) -> None:
    version = await published(hub, *made)
    for _ in flips(stored(hub, version, name), times=10):
        told = await verify(hub)
        assert set(FILES[name]) <= set(wrong(told))
        [check] = [c for c in told.checks if c.what == FILES[name][0]]
        assert check.found != check.expected
        assert "restore" in check.message
    assert (await verify(hub)).intact


@pytest.mark.parametrize("name", ["adapter_config.json", "manifest.json", "statement.json"])
async def test_a_flipped_bit_is_refused_when_the_name_is_resolved(
    hub: RunningRegistry, made: Made, name: str
) -> None:
    """The weights are hashed by the engine that loads them, not for each request."""
    version = await published(hub, *made)
    await published(hub, *made, "other")
    damaged = publication_pb2.ResolveModelRequest(model_id=made[0], version="1")
    other = publication_pb2.ResolveModelRequest(model_id=made[0], version="2")
    for _ in flips(stored(hub, version, name), times=20):
        error = await failure(hub.stub.ResolveModel(damaged))
        assert isinstance(error, DataLoss)
        assert (error.reason, error.metadata) == ("ARTIFACT_CORRUPT", {"file": name})
        assert (await hub.stub.ResolveModel(other)).version.version == 2
    assert (await hub.stub.ResolveModel(damaged)).version.version == 1


async def test_missing_and_added_files_are_told(hub: RunningRegistry, made: Made) -> None:
    version = await published(hub, *made)
    folder = hub.archive / version.artifact_path
    (folder / "added.txt").write_text("x")
    assert wrong(await verify(hub)) == ["the version's folder"]
    (folder / "added.txt").unlink()
    for name in OWN:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        told = await verify(hub)
        assert {name, "the version's folder"} <= set(wrong(told))
        [check] = [c for c in told.checks if c.what == name]
        assert (check.found, check.message.split(";")[0]) == ("", "missing or unreadable")
        (folder / name).symlink_to(folder.parent / "elsewhere")
        assert name in wrong(await verify(hub)), "a link is no file of ours"
        (folder / name).unlink()
        (folder / name).write_bytes(content)
    assert (await verify(hub)).intact


async def test_a_changed_row_is_told(hub: RunningRegistry, made: Made) -> None:
    await published(hub, *made)
    hub.sql("ALTER TABLE registry.versions DISABLE TRIGGER USER")
    hub.sql("UPDATE registry.versions SET lineage = jsonb_set(lineage, '{training,seed}', '4')")
    assert wrong(await verify(hub)) == ["what manifest.json says"]
    path = "{training,code_commit}"
    hub.sql(f"UPDATE registry.versions SET lineage = jsonb_set(lineage, '{path}', '\"d\"')")  # noqa: S608
    told = await verify(hub)
    assert wrong(told) == ["what manifest.json says", "what statement.json says"]
    assert told.checks[6].found == "another dependencies"


async def test_a_version_that_is_archived_meanwhile_is_not_damaged(
    hub: RunningRegistry, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    await published(hub, *made)
    loop, read = asyncio.get_running_loop(), papers.read

    async def archive() -> None:
        await hub.stub.ArchiveVersion(versions_pb.ArchiveVersionRequest(model_id=1, version="1"))

    async def restore() -> None:
        await hub.stub.RestoreVersion(versions_pb.RestoreVersionRequest(model_id=1, version="1"))

    def overtaken(folder: Path) -> dict[str, bytes]:
        monkeypatch.setattr(papers, "read", read)
        asyncio.run_coroutine_threadsafe(archive(), loop).result(30)
        return read(folder)

    monkeypatch.setattr(papers, "read", overtaken)
    assert (await verify(hub)).intact
    await restore()
    monkeypatch.setattr(papers, "read", overtaken)
    request = pb.GetStatementRequest(model_id=made[0], version="1")
    assert json.loads((await hub.provenance.GetStatement(request)).data)["predicate"]


async def test_a_statement_is_given_as_it_is_stored(hub: RunningRegistry, made: Made) -> None:
    version = await published(hub, *made)
    request = pb.GetStatementRequest(model_id=made[0], version="latest")
    body = await hub.provenance.GetStatement(request)
    path = stored(hub, version, "statement.json")
    assert body.content_type == "application/vnd.in-toto+json"
    assert body.data == path.read_bytes()
    statement = json.loads(body.data)
    subjects = {s["name"]: s["digest"]["sha256"] for s in statement["subject"]}
    assert sorted(subjects) == sorted(OWN[:3])
    [base, data, *_] = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert base["digest"]["sha256"] == hub.base_digest
    assert stored(hub, version, "dataset").name == f"{data['digest']['sha256']}.jsonl"
    for _ in flips(path, times=5):
        error = await failure(hub.provenance.GetStatement(request))
        assert isinstance(error, DataLoss)
        assert error.metadata == {"file": "statement.json"}


async def test_unknown_and_old_versions_are_named(hub: RunningRegistry, made: Made) -> None:
    await published(hub, *made)
    for model_id, name, reason in ((9, "1", "MODEL_NOT_FOUND"), (1, "7", "VERSION_NOT_FOUND")):
        stating = pb.GetStatementRequest(model_id=model_id, version=name)
        assert (await failure(hub.provenance.GetStatement(stating))).reason == reason
        checking = pb.VerifyVersionRequest(model_id=model_id, version=name)
        assert (await failure(hub.provenance.VerifyVersion(checking))).reason == reason
    hub.sql("ALTER TABLE registry.versions DISABLE TRIGGER USER")
    hub.sql("UPDATE registry.versions SET lineage = lineage - 'papers'")
    request = pb.GetStatementRequest(model_id=1, version="1")
    error = await failure(hub.provenance.GetStatement(request))
    assert isinstance(error, NotFound)
    assert (error.reason, error.metadata["version"]) == ("STATEMENT_NOT_FOUND", "1")


@asynccontextmanager
async def keyed(hub: RunningRegistry, **keys: Any) -> AsyncIterator[RunningRegistry]:
    """Run a second registry over the same home, with keys."""
    settings = RegistrySettings(**{**hub.settings.model_dump(), **keys})
    registry = Registry(settings)
    port = await registry.server.start(0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield RunningRegistry(registry, settings, channel, hub.base_digest, port)
    await registry.server.stop()
    await registry.close()


async def test_a_signed_version_is_judged_by_the_keys_there_are(
    hub: RunningRegistry, made: Made, tmp_path: Path
) -> None:
    public, identity = generate(tmp_path / "key")
    other, _ = generate(tmp_path / "other")
    for name, text in (("pub", public), ("other.pub", other)):
        (tmp_path / name).write_text(text)
    await published(hub, *made)
    async with keyed(hub, signing_key=tmp_path / "key") as signing:
        version = await signing.stub.PublishVersion(await staged(hub, *made, "signed"))
        told = await verify(signing, "2")
        assert (told.signature, told.key_id) == (pb.SIGNATURE_STATUS_VALID, identity)
        assert told.intact
        request = pb.GetStatementRequest(model_id=1, version="2")
        body = await signing.provenance.GetStatement(request)
        assert body.content_type == "application/vnd.dsse.envelope.v1+json"
        payload = base64.b64decode(json.loads(body.data)["payload"])
        assert payload == stored(hub, version, "statement.json").read_bytes()
        for _ in flips(hub.archive / version.artifact_path / "statement.dsse.json", times=10):
            assert {"statement.dsse.json", "the version's folder"} <= set(
                wrong(await verify(signing, "2"))
            )
        unsigned = await verify(signing, "1")
        assert unsigned.signature == pb.SIGNATURE_STATUS_UNSIGNED
        assert wrong(unsigned) == ["signature"], "a key is there, so it has to be signed"
    async with keyed(hub, trusted_keys=str(tmp_path / "pub")) as trusting:
        assert (await verify(trusting, "2")).signature == pb.SIGNATURE_STATUS_VALID
    async with keyed(hub, trusted_keys=str(tmp_path / "other.pub")) as stranger:
        told = await verify(stranger, "2")
        assert told.signature == pb.SIGNATURE_STATUS_UNKNOWN_KEY
        assert wrong(told) == ["signature"]
    told = await verify(hub, "2")
    assert (told.signature, told.key_id) == (pb.SIGNATURE_STATUS_NOT_CHECKED, identity)
    assert told.intact
