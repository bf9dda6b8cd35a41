"""What is kept of a generation, on a real file."""

import asyncio
import hashlib
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_record_pb2 as pb

from services.chassis.errors import (
    DeadlineExceeded,
    Exhausted,
    HubError,
    Internal,
    Invalid,
    NotFound,
    Unavailable,
)
from services.inference.domain import (
    Answer,
    Delta,
    Generation,
    Turn,
)
from services.inference.journal import Journal, Wanted
from services.inference.output import Output, ToolCall
from services.inference.record_messages import page_key, page_of, record_of, wanted_of
from services.inference.recording import Recording
from tests.fixtures.generations import DONE, follow, opened, target


async def test_a_record_tells_everything_but_the_text(journal: Journal, tmp_path: Path) -> None:
    generation = follow(journal)
    record = record_of(await journal.get("g"))
    assert record.outcome == pb.GENERATION_OUTCOME_FINISHED
    assert record.finish_reason == completion_pb.FINISH_REASON_STOP
    text, prompt = "hello wörld".encode(), b"a secret"
    assert (record.text_digest, record.text_bytes) == (hashlib.sha256(text).hexdigest(), len(text))
    assert record.prompt_digest == hashlib.sha256(prompt).hexdigest()
    assert (record.prompt_bytes, record.tokens, record.prompt_tokens) == (8, 2, 3)
    assert (record.cached_tokens, record.engine_ttft_ms) == (1, 1)
    assert 0 < record.ttft_ms <= record.latency_ms
    assert 0 <= record.ended_at.ToSeconds() - record.started_at.ToSeconds() <= 60
    assert abs(record.started_at.ToSeconds() - time.time()) < 60
    asked = record.request
    assert (asked.model_id, asked.version, asked.max_tokens) == (7, "4", 9)
    assert (asked.temperature, asked.seed, asked.top_p) == (0.5, generation.seed, 1)
    assert (list(asked.stop), dict(asked.logit_bias)) == (["END"], {3: -1.5})
    assert (record.provenance.job_id, record.lineage.adapter_digest) == (5, "a" * 64)
    for file in (tmp_path / "home").iterdir():
        assert b"secret" not in file.read_bytes()
        assert b"hello" not in file.read_bytes()
        assert file.stat().st_mode & 0o77 == 0


async def test_messages_are_hashed_as_the_contract_says(journal: Journal) -> None:
    turns = (Turn("system", "be brief"), Turn("user", "grüß Gott"))
    with Recording(journal, target(), Generation(turns=turns).begun("m"), 0) as recording:
        recording.saw(Answer("", DONE, 1, 1, target().provenance, Generation()))
    record = record_of(await journal.get("m"))
    text = (
        '[{"role":"system","content":"be brief"},{"role":"user","content":"gr\\u00fc\\u00df Gott"}]'
    )
    assert record.prompt_digest == hashlib.sha256(text.encode()).hexdigest()
    assert (record.prompt_bytes, len(record.request.messages)) == (19, 0)


async def test_calls_and_what_the_answer_was_held_to_are_recorded(journal: Journal) -> None:
    call = ToolCall("c1", "weather", '{"city":"Rome"}')
    turns = (Turn("assistant", "", (call,)), Turn("tool", "Sunny.", tool_call_id="c1"))
    asked = Generation(turns=turns, output=Output(regex="[a-z]+", required_tool="weather"))
    done = replace(DONE, reason="tool_calls")
    with Recording(journal, target(), asked.begun("t"), 0) as recording:
        recording.saw(Answer("", done, 1, 1, target().provenance, asked, tool_calls=(call,)))
    record = record_of(await journal.get("t"))
    assert record.finish_reason == completion_pb.FINISH_REASON_TOOL_CALLS
    assert (record.request.regex, record.request.required_tool) == ("[a-z]+", "weather")
    text = (
        '[{"role":"assistant","content":"","tool_calls":[{"id":"c1","name":"weather",'
        '"arguments":"{\\"city\\":\\"Rome\\"}"}]},'
        '{"role":"tool","content":"Sunny.","tool_call_id":"c1"}]'
    )
    assert record.prompt_digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("end", "outcome", "reason"),
    [
        (Unavailable("ENGINE_DIED", "gone"), pb.GENERATION_OUTCOME_FAILED, "ENGINE_DIED"),
        (RuntimeError("a bug"), pb.GENERATION_OUTCOME_FAILED, "INTERNAL"),
        (GeneratorExit(), pb.GENERATION_OUTCOME_CANCELLED, ""),
        (asyncio.CancelledError(), pb.GENERATION_OUTCOME_CANCELLED, ""),
    ],
)
async def test_an_answer_that_broke_off_says_how_and_where(
    journal: Journal, end: BaseException, outcome: int, reason: str
) -> None:
    follow(journal, end=end)
    record = record_of(await journal.get("g"))
    assert (record.outcome, record.error_reason) == (outcome, reason)
    text = "hello wörld".encode()
    assert (record.tokens, record.text_digest) == (2, hashlib.sha256(text).hexdigest())
    assert record.HasField("ended_at")
    if isinstance(end, HubError):
        assert end.metadata["generation_id"] == "g"


@pytest.mark.parametrize(
    "refusal",
    [
        Exhausted("QUEUE_FULL", "full"),
        Invalid("PROMPT_TOO_LONG", "long"),
        Unavailable("SHUTTING_DOWN", "later"),
        Unavailable("ENGINE_START_FAILED", "no"),
    ],
    ids=lambda error: error.reason,
)
async def test_a_refused_request_leaves_no_record_unless_it_had_begun(
    journal: Journal, refusal: HubError
) -> None:
    follow(journal, "refused", refusal, words=())
    with pytest.raises(NotFound) as caught:
        await journal.get("refused")
    assert caught.value.reason == "GENERATION_NOT_FOUND"
    assert refusal.metadata == {}
    follow(journal, "begun", refusal)
    assert record_of(await journal.get("begun")).error_reason == refusal.reason


@pytest.mark.parametrize(
    "end",
    [
        GeneratorExit(),
        asyncio.CancelledError(),
        DeadlineExceeded("DEADLINE_PASSED", "late", metadata={"phase": "prefill"}),
    ],
)
async def test_who_leaves_the_line_leaves_no_record_and_who_leaves_an_engine_does(
    journal: Journal, end: BaseException
) -> None:
    follow(journal, "queued", end, words=())
    with pytest.raises(NotFound):
        await journal.get("queued")
    for name, words in (("prefill", ()), ("decode", ("a", "b"))):
        follow(journal, name, end, words, begun=True)
        record = record_of(await journal.get(name))
        assert (record.outcome, record.tokens) == (pb.GENERATION_OUTCOME_CANCELLED, len(words))
        assert (record.error_reason, record.HasField("ended_at")) == ("", True)
        if isinstance(end, HubError):
            assert end.metadata["generation_id"] == name


async def test_a_fault_before_the_first_token_is_recorded(journal: Journal) -> None:
    follow(journal, "g", Internal("GENERATION_FAILED", "no"), words=())
    assert record_of(await journal.get("g")).error_reason == "GENERATION_FAILED"


async def test_what_the_service_did_not_outlive_is_lost(journal: Journal, tmp_path: Path) -> None:
    recording = Recording(journal, target(), Generation(prompt="x").begun("cut"), time.monotonic())
    recording.saw(Delta("half an", 3))
    running = record_of(await journal.get("cut"))
    assert running.outcome == pb.GENERATION_OUTCOME_RUNNING
    assert not running.HasField("ended_at")
    follow(journal, "whole")
    await journal.page(1, None, Wanted())
    # The first one is not closed: its process was killed.
    async with opened(tmp_path / "home/generations.db", 100) as after:
        lost = record_of(await after.get("cut"))
        assert not lost.HasField("ended_at")
        assert (lost.outcome, lost.tokens) == (pb.GENERATION_OUTCOME_LOST, 3)
        assert record_of(await after.get("whole")).outcome == pb.GENERATION_OUTCOME_FINISHED


async def test_the_newest_are_kept_and_lineages_go_with_the_last_that_needs_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "generations.db"
    async with opened(path, 3) as journal:
        for number in range(6):
            follow(journal, f"g{number}", version=number + 1)
        entries = await journal.page(10, None, Wanted())
        assert [entry.id for entry in entries] == ["g5", "g4", "g3"]
        assert record_of(await journal.get("g4")).lineage.version == 5
    async with opened(path, 1) as journal:
        assert [e.id for e in await journal.page(10, None, Wanted())] == ["g5"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM lineage").fetchone() == (1,)


async def test_pages_go_on_where_the_last_one_ended_by_the_same_filters(journal: Journal) -> None:
    for number in range(5):
        follow(journal, f"g{number}", version=1 + number % 2)
    follow(journal, "broken", Internal("GENERATION_FAILED", "no"), version=1)

    async def ids(**fields: object) -> tuple[list[str], str]:
        request = pb.ListGenerationsRequest(**fields)  # type: ignore[arg-type]
        entries = await journal.page(3, page_key(request), wanted_of(request))
        page = page_of(request, entries, 2)
        assert not any(record.HasField("lineage") for record in page.generations)
        return [record.generation_id for record in page.generations], page.next_page_token

    first, token = await ids(version=1)
    assert first == ["broken", "g4"]
    follow(journal, "later", version=1)
    assert await ids(version=1, page_token=token) == (["g2", "g0"], "")
    assert await ids(outcome=pb.GENERATION_OUTCOME_FAILED) == (["broken"], "")
    assert await ids(model_id=8) == ([], "")
    with pytest.raises(Invalid) as caught:
        await ids(version=2, page_token=token)
    assert caught.value.reason == "INVALID_PAGE_TOKEN"
