"""Aliases move and move back; versions leave service and return; what is resolved follows."""

import asyncio
from collections.abc import Awaitable

import pytest
from mlx_hub.registry.v1 import model_event_pb2, publication_pb2, version_pb2
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import version_messages_pb2 as pb

from services.chassis.errors import FailedPrecondition, Invalid, NotFound
from tests.fixtures.publications import published
from tests.fixtures.registry import RunningRegistry, failure

type Reply = Awaitable[version_pb2.ModelVersion]

ARCHIVED = version_pb2.VERSION_STATUS_ARCHIVED
OF_PUBLICATION = ("created", "trained", "evaluated")
READY = version_pb2.VERSION_STATUS_READY


class Versions:
    """Three versions of a model, and short names for what is done to them."""

    def __init__(self, hub: RunningRegistry, model_id: int) -> None:
        self.hub, self.stub, self.model_id = hub, hub.stub, model_id

    def promote(self, version: object, alias: str = "") -> Reply:
        return self.stub.PromoteVersion(
            pb.PromoteVersionRequest(model_id=self.model_id, version=str(version), alias=alias)
        )

    def roll_back(self, alias: str = "") -> Reply:
        return self.stub.RollbackAlias(pb.RollbackAliasRequest(model_id=self.model_id, alias=alias))

    def unalias(self, alias: str) -> Awaitable[object]:
        return self.stub.DeleteAlias(pb.DeleteAliasRequest(model_id=self.model_id, alias=alias))

    def archive(self, version: object) -> Reply:
        return self.stub.ArchiveVersion(
            pb.ArchiveVersionRequest(model_id=self.model_id, version=str(version))
        )

    def restore(self, version: object) -> Reply:
        return self.stub.RestoreVersion(
            pb.RestoreVersionRequest(model_id=self.model_id, version=str(version))
        )

    async def resolve(self, version: str = "") -> int:
        request = publication_pb2.ResolveModelRequest(model_id=self.model_id, version=version)
        return (await self.stub.ResolveModel(request)).version.version

    async def events(self) -> list[tuple[str, int, dict[str, str]]]:
        """List what happened after the publications, oldest first."""
        request = models_pb.GetModelHistoryRequest(model_id=self.model_id)
        found = (await self.stub.GetModelHistory(request)).events
        name = model_event_pb2.ModelEventType.Name
        named = [
            (name(e.type).removeprefix("MODEL_EVENT_TYPE_").lower(), e.version, dict(e.details))
            for e in reversed(found)
        ]
        return [event for event in named if event[0] not in OF_PUBLICATION]


@pytest.fixture
async def three(hub: RunningRegistry) -> Versions:
    model, dataset = await hub.model(), await hub.dataset()
    for salt in "abc":
        await published(hub, model.id, dataset, salt)
    return Versions(hub, model.id)


async def test_an_alias_moves_and_what_is_resolved_follows(three: Versions) -> None:
    assert (await failure(three.resolve("champion"))).reason == "VERSION_NOT_FOUND"
    assert list((await three.promote(1)).aliases) == ["champion"], "the default"
    assert await three.resolve("champion") == 1
    promoted = await three.promote("latest", "champion")
    assert (promoted.version, list(promoted.aliases)) == (3, ["champion", "latest"])
    assert await three.resolve("champion") == 3
    assert await three.promote("champion") == promoted, "where it is already nothing happens"
    await three.promote(2, "challenger")
    assert [await three.resolve(a) for a in ("champion", "challenger", "latest")] == [3, 2, 3]
    assert await three.events() == [
        ("promoted", 1, {"alias": "champion", "to": "1"}),
        ("promoted", 3, {"alias": "champion", "from": "1", "to": "3"}),
        ("promoted", 2, {"alias": "challenger", "to": "2"}),
    ]


async def test_each_rollback_takes_one_promotion_back(three: Versions) -> None:
    for version in (1, 2, 3):
        await three.promote(version)
    await three.promote(1, "other")
    assert (await three.roll_back()).version == 2
    rolled = await three.roll_back("champion")
    assert (rolled.version, list(rolled.aliases)) == (1, ["champion", "other"])
    assert await three.resolve("champion") == 1
    error = await failure(three.roll_back())
    assert isinstance(error, FailedPrecondition)
    assert (error.reason, error.metadata) == (
        "NO_EARLIER_VERSION",
        {"model_id": str(three.model_id), "alias": "champion"},
    )
    assert (await three.events())[-2:] == [
        ("rolled_back", 2, {"alias": "champion", "from": "3", "to": "2"}),
        ("rolled_back", 1, {"alias": "champion", "from": "2", "to": "1"}),
    ]
    await three.promote(3)
    assert (await three.roll_back()).version == 1, "a promotion after a rollback is taken back too"


async def test_nothing_lies_before_an_alias_that_was_deleted(three: Versions) -> None:
    await three.promote(1)
    await three.promote(2)
    await three.unalias("champion")
    assert (await failure(three.resolve("champion"))).reason == "VERSION_NOT_FOUND"
    assert (await three.events())[-1] == ("alias_deleted", 2, {"alias": "champion", "from": "2"})
    for call in (three.unalias("champion"), three.roll_back()):
        error = await failure(call)
        assert isinstance(error, NotFound)
        assert (error.reason, error.metadata["version"]) == ("VERSION_NOT_FOUND", "champion")
    await three.promote(3)
    assert (await failure(three.roll_back())).reason == "NO_EARLIER_VERSION"


@pytest.mark.parametrize("alias", ["latest", "base", "12", "Bad", "a b", "x" * 64])
async def test_reserved_and_malformed_aliases_are_refused(three: Versions, alias: str) -> None:
    for call in (three.promote(1, alias), three.roll_back(alias), three.unalias(alias)):
        error = await failure(call)
        assert isinstance(error, Invalid)
        assert (error.reason, error.metadata) == ("INVALID_FIELD", {"field": "alias"})
    assert await three.resolve("latest") == 3


async def test_only_a_ready_version_is_promoted_or_rolled_back_to(three: Versions) -> None:
    await three.promote(1)
    await three.promote(2)
    await three.archive(1)
    for call in (three.promote(1, "other"), three.roll_back()):
        error = await failure(call)
        assert isinstance(error, FailedPrecondition)
        assert (error.reason, error.metadata) == (
            "VERSION_NOT_READY",
            {"version": "1", "status": "archived"},
        )
    assert await three.resolve("champion") == 2
    assert (await failure(three.promote(9))).reason == "VERSION_NOT_FOUND"


async def test_an_archived_version_is_not_served_until_it_is_restored(three: Versions) -> None:
    archived = await three.archive(2)
    assert archived.status == ARCHIVED
    assert await three.archive(2) == archived, "a second time changes nothing"
    assert (await failure(three.resolve("2"))).reason == "VERSION_NOT_READY"
    assert not (three.hub.archive / archived.artifact_path).exists(), "its files are elsewhere"
    restored = await three.restore("2")
    assert restored.status == READY
    assert await three.restore(2) == restored
    assert await three.resolve("2") == 2
    checksum = {"checksum": archived.checksum}
    assert await three.events() == [("archived", 2, checksum), ("restored", 2, checksum)]


async def test_latest_may_be_archived_and_stays_where_it_is(three: Versions) -> None:
    assert list((await three.archive("latest")).aliases) == ["latest"]
    assert (await failure(three.resolve())).metadata == {"version": "3", "status": "archived"}
    assert list((await three.restore("latest")).aliases) == ["latest"]


async def test_an_alias_keeps_its_version_in_service(three: Versions) -> None:
    await three.promote(3)
    error = await failure(three.archive(3))
    assert isinstance(error, FailedPrecondition)
    assert (error.reason, error.metadata) == (
        "VERSION_HAS_ALIAS",
        {"version": "3", "alias": "champion"},
    )
    await three.promote(1)
    assert (await three.archive(3)).status == ARCHIVED


async def test_a_failed_version_neither_leaves_nor_returns(three: Versions) -> None:
    three.hub.sql("UPDATE registry.versions SET status = 'failed' WHERE version = 1")
    for call in (three.archive(1), three.restore(1), three.promote(1)):
        error = await failure(call)
        assert (error.reason, error.metadata["status"]) == ("VERSION_NOT_READY", "failed")


async def test_moves_at_once_leave_one_alias_and_a_whole_chain(three: Versions) -> None:
    await asyncio.gather(*(three.promote(n % 3 + 1) for n in range(24)))
    moves = [details for _, _, details in await three.events()]
    assert [move.get("from") for move in moves[1:]] == [move["to"] for move in moves[:-1]]
    assert await three.resolve("champion") == int(moves[-1]["to"])


async def test_archiving_and_promoting_at_once_never_both_succeed(three: Versions) -> None:
    for n in range(10):
        alias = f"alias-{n}"
        results = await asyncio.gather(
            three.promote(2, alias), three.archive(2), return_exceptions=True
        )
        assert len([r for r in results if isinstance(r, version_pb2.ModelVersion)]) == 1
        if isinstance(results[0], version_pb2.ModelVersion):
            await three.unalias(alias)
        else:
            await three.restore(2)
