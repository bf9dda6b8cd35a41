"""Uploads through the stub: any cut, any end, any repeat; and nothing left of what failed."""

import asyncio
import errno
import hashlib
import json
from collections.abc import AsyncIterator, Iterable

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.any_pb2 import Any as AnyMessage
from mlx_hub.registry.v1 import dataset_pb2
from mlx_hub.registry.v1 import dataset_service_pb2 as pb

from services.chassis.errors import AlreadyExists, Exhausted, HubError, Invalid
from services.registry import files
from services.registry.messages.uploads import CONTENT_TYPES
from tests.fixtures.registry import RunningRegistry, failure

ROWS = b"".join(json.dumps({"text": f"row {n}"}).encode() + b"\n" for n in range(50))


def messages(
    *pieces: bytes, name: str = "d", request_id: str = "", content_type: str = ""
) -> list[pb.UploadDatasetRequest]:
    """Give an upload's messages; the first says what it is."""
    found = [pb.UploadDatasetRequest(body=HttpBody(data=piece)) for piece in pieces or (b"",)]
    found[0].MergeFrom(pb.UploadDatasetRequest(name=name, request_id=request_id))
    found[0].body.content_type = content_type
    return found


async def upload(
    hub: RunningRegistry, sent: Iterable[pb.UploadDatasetRequest], **metadata: str
) -> dataset_pb2.Dataset:
    headers = [(key.replace("_", "-"), value) for key, value in metadata.items()]
    return await hub.datasets.UploadDataset(iter(sent), metadata=headers)


def kept(hub: RunningRegistry) -> list[str]:
    return sorted(path.name for path in (hub.archive / "datasets").iterdir())


async def refused(
    hub: RunningRegistry, sent: Iterable[pb.UploadDatasetRequest], **metadata: str
) -> HubError:
    """Give the error; nothing may be left in the archive."""
    error = await failure(upload(hub, sent, **metadata))
    assert kept(hub) == []
    assert hub.sql("SELECT count(*) FROM registry.datasets") == [(0,)]
    return error


@pytest.mark.parametrize("size", [1, 7, 300, len(ROWS)])
async def test_bytes_become_a_dataset_however_they_are_cut(
    hub: RunningRegistry, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="mlx_hub.access")
    cut = [ROWS[n : n + size] for n in range(0, len(ROWS), size)]
    call = hub.datasets.UploadDataset(iter(messages(b"", *cut)))
    dataset = await call
    headers = dict(await call.initial_metadata())
    assert (headers["x-http-code"], headers["location"]) == ("201", f"/datasets/{dataset.id}")
    assert (dataset.name, dataset.path, dataset.rows) == ("d", "", 50)
    assert dataset.checksum == hashlib.sha256(ROWS).hexdigest()
    assert kept(hub) == [f"{dataset.checksum}.jsonl"]
    file = hub.archive / "datasets" / f"{dataset.checksum}.jsonl"
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (ROWS, 0o444)
    counted = [vars(r)["bytes_in"] for r in caplog.records if r.name == "mlx_hub.access"]
    assert counted == [len(ROWS)]
    assert await hub.datasets.GetDataset(pb.GetDatasetRequest(dataset_id=dataset.id)) == dataset


async def test_equal_bytes_under_two_names_share_a_file(hub: RunningRegistry) -> None:
    made = [await upload(hub, messages(ROWS, name=name)) for name in ("a", "b")]
    assert made[0].id != made[1].id
    assert made[0].checksum == made[1].checksum
    assert kept(hub) == [f"{made[0].checksum}.jsonl"]


async def test_a_request_id_stands_for_a_name_and_its_bytes(hub: RunningRegistry) -> None:
    first = await upload(hub, messages(ROWS, request_id="once"))
    assert await upload(hub, messages(ROWS[:9], ROWS[9:], request_id="once")) == first
    assert await upload(hub, messages(ROWS), idempotency_key="once") == first
    for sent, reason in (
        (messages(ROWS + ROWS, request_id="once"), "REQUEST_ID_REUSED"),
        (messages(ROWS, request_id="once", name="e"), "REQUEST_ID_REUSED"),
        (messages(ROWS, request_id="twice"), "NAME_TAKEN"),
        (messages(ROWS), "NAME_TAKEN"),
    ):
        error = await failure(upload(hub, sent))
        assert isinstance(error, AlreadyExists)
        assert error.reason == reason
    (hub.settings.dataset_root).mkdir(exist_ok=True)
    (hub.settings.dataset_root / "d.jsonl").write_bytes(ROWS)
    by_path = pb.CreateDatasetRequest(name="d", path="d.jsonl", request_id="once")
    assert (await failure(hub.datasets.CreateDataset(by_path))).reason == "REQUEST_ID_REUSED"
    assert kept(hub) == [f"{first.checksum}.jsonl"]
    assert hub.sql("SELECT count(*) FROM registry.datasets") == [(1,)]


async def test_a_taken_name_is_refused_before_the_bytes_come(hub: RunningRegistry) -> None:
    await upload(hub, messages(ROWS))

    async def endless() -> AsyncIterator[pb.UploadDatasetRequest]:
        for message in messages(ROWS):
            yield message
        await asyncio.Event().wait()

    error = await failure(hub.datasets.UploadDataset(endless(), timeout=20))
    assert error.reason == "NAME_TAKEN"


async def test_concurrent_uploads_of_one_request_make_one_dataset(hub: RunningRegistry) -> None:
    made = await asyncio.gather(
        *(upload(hub, messages(ROWS[:70], ROWS[70:], request_id="once")) for _ in range(6))
    )
    assert {dataset.id for dataset in made} == {made[0].id}
    results = await asyncio.gather(
        *(upload(hub, messages(ROWS, name="e")) for _ in range(6)), return_exceptions=True
    )
    assert len([r for r in results if isinstance(r, dataset_pb2.Dataset)]) == 1
    assert len(kept(hub)) == 1


async def test_an_upload_that_breaks_off_leaves_nothing(hub: RunningRegistry) -> None:
    """Also one that ends after a whole row, and looks complete."""
    for turn in range(20):
        arrived = asyncio.Event()

        async def sent(arrived: asyncio.Event = arrived) -> AsyncIterator[pb.UploadDatasetRequest]:
            for message in messages(ROWS, ROWS):
                yield message
            arrived.set()
            await asyncio.Event().wait()

        call = hub.datasets.UploadDataset(sent())
        await asyncio.wait_for(arrived.wait(), 10)
        await asyncio.sleep(0.002 * turn)
        call.cancel()
    for _ in range(100):
        if not kept(hub):
            break
        await asyncio.sleep(0.05)
    assert kept(hub) == []
    assert hub.sql("SELECT count(*) FROM registry.datasets") == [(0,)]


async def test_many_slow_senders_hold_up_nobody(hub: RunningRegistry) -> None:
    go_on = asyncio.Event()

    async def slow(name: str) -> AsyncIterator[pb.UploadDatasetRequest]:
        yield messages(ROWS[:10], name=name)[0]
        await go_on.wait()
        yield pb.UploadDatasetRequest(body=HttpBody(data=ROWS[10:]))

    calls = [hub.datasets.UploadDataset(slow(f"slow{n}")) for n in range(60)]
    await asyncio.sleep(0.5)
    assert (await upload(hub, messages(ROWS, name="quick"))).rows == 50
    go_on.set()
    assert {(await call).rows for call in calls} == {50}


async def test_the_first_message_says_what_it_is(hub: RunningRegistry) -> None:
    for sent, field in (
        ([], "name"),
        (messages(ROWS, name=""), "name"),
        (messages(ROWS, name="Not A Name"), "name"),
        (messages(ROWS, request_id="x" * 101), "request_id"),
        ([*messages(ROWS), *messages(ROWS, name="e")], "name"),
        ([*messages(ROWS, request_id="a"), *messages(ROWS, request_id="b")], "request_id"),
        ([*messages(ROWS), *messages(ROWS, name="", request_id="late")], "request_id"),
        ([*messages(ROWS), *messages(ROWS, name="Not A Name")], "name"),
    ):
        error = await refused(hub, sent)
        assert isinstance(error, Invalid)
        assert (error.reason, [v.field for v in error.violations]) == ("INVALID_FIELD", [field])


async def test_only_what_may_be_lines_of_text_is_taken(hub: RunningRegistry) -> None:
    for bad in ("multipart/form-data; boundary=x", "application/gzip", "text/csv", "x"):
        error = await refused(hub, messages(ROWS, content_type=bad))
        assert error.metadata["field"] == "body.content_type", bad
    error = await refused(hub, messages(ROWS, content_type="text/plain; charset=latin-1"))
    assert "utf-8" in error.message
    error = await refused(hub, messages(ROWS), content_encoding="gzip")
    assert "'gzip'" in error.message
    extended = messages(ROWS)
    extended[0].body.extensions.append(AnyMessage())
    assert (await refused(hub, extended)).metadata["field"] == "body.extensions"
    for number, good in enumerate((*CONTENT_TYPES, 'Text/Plain; charset="UTF-8"')):
        sent = messages(ROWS, name=f"d{number}", content_type=good)
        assert (await upload(hub, sent, content_encoding="identity")).rows == 50


async def test_no_bytes_and_no_rows_are_no_dataset(hub: RunningRegistry) -> None:
    for pieces in ((), (b"",), (b"", b"", b"")):
        error = await refused(hub, messages(*pieces))
        assert (error.reason, error.message) == (
            "DATASET_ROW_INVALID",
            "line 1: the file has no rows",
        )


async def test_up_to_twenty_bad_lines_are_named_at_once(hub: RunningRegistry) -> None:
    good, bad, other = b'{"text": "x"}\n', b"{\n", b'{"prompt": "p", "completion": "c"}\n'
    error = await refused(hub, messages(good, bad + other, good * 3, bad))
    assert isinstance(error, Invalid)
    assert error.reason == "DATASET_ROW_INVALID"
    assert error.metadata == {"line": "2"}
    assert [violation.field for violation in error.violations] == ["line 2", "line 3", "line 7"]
    assert error.message.startswith("line 2: not valid JSON")
    assert error.message.endswith("(and 2 more bad lines)")
    assert "completion row, but line 1 is a text row" in error.violations[1].description
    error = await refused(hub, messages(*[good + b'"' + b"\xc3\xa4" * 900 + b'"\n'] * 500))
    assert [violation.field for violation in error.violations] == [
        f"line {2 * n}" for n in range(1, 21)
    ]


async def test_what_is_wrong_is_said_while_the_sender_sends(hub: RunningRegistry) -> None:
    async def endless() -> AsyncIterator[pb.UploadDatasetRequest]:
        yield messages(b"")[0]
        while True:
            yield pb.UploadDatasetRequest(body=HttpBody(data=b"not json\n" * 10))

    error = await failure(hub.datasets.UploadDataset(endless(), timeout=20))
    assert error.reason == "DATASET_ROW_INVALID"
    assert kept(hub) == []


@pytest.mark.parametrize("where", ["seal", "write"])
async def test_a_full_disk_is_said_and_leaves_nothing(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "seal":
        monkeypatch.setattr(files, "sync", full)
    else:
        monkeypatch.setattr("services.registry.datasets.Arriving._opened", full)
    error = await refused(hub, messages(ROWS))
    assert isinstance(error, Exhausted)
    assert error.reason == "DISK_FULL"


async def test_one_message_may_not_be_larger_than_the_server_takes(hub: RunningRegistry) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await upload(hub, messages(b"x" * (9 * 2**20)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert kept(hub) == []
