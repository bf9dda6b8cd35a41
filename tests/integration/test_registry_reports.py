"""Dataset reports through the stub, with every number computed here by other means."""

import asyncio
import hashlib
import json
import random
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlx_hub.registry.v1 import dataset_report_pb2 as report_pb

from services.chassis.errors import DataLoss, Exhausted, Invalid, NotFound
from services.registry.importer import run as import_base
from services.runtime.batches import epoch_batches
from tests.fixtures.registry import RunningRegistry, failure
from tests.fixtures.reports import ask, children, until_children
from tests.fixtures.rows import chat, register

LIMIT = 256
# What the tiny model's template adds around a question, up to an answer, and behind it: each
# byte is a token, and so is each special token.
ASKED, ANSWERED, ENDED = len("[user\n]\n"), len("[assistant\n"), len("]\n")


def text(number: int, length: int) -> str:
    letters = random.Random(number)  # noqa: S311
    return "".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=length))


def rows() -> list[dict[str, Any]]:
    """Sixty rows: 11 and 12 too long to be trained on, 13 cut; 21, 22, 23 equal; 31, 32 alike."""
    made = [chat(text(n, 20 + n), text(1000 + n, 30 + 2 * (n % 7))) for n in range(1, 61)]
    for line in (11, 12):
        made[line - 1] = chat(text(line, 300), "yes")
    made[12] = chat(text(13, 100), text(1013, 200))
    made[21] = made[22] = made[20]
    long = text(31, 100)
    made[30], made[31] = chat(long, "first"), chat(long, "first!")
    return made


ROWS = rows()


def lengths(row: dict[str, Any]) -> tuple[int, int]:
    """Count a row's tokens, and those of them before the answer."""
    question, answer = (message["content"] for message in row["messages"])
    before = ASKED + len(question) + ANSWERED
    return before + len(answer) + ENDED, before


def drawn(row: dict[str, Any], seed: int) -> float:
    digest = hashlib.sha256(json.dumps(row).encode()).digest()
    return int.from_bytes(hashlib.sha256(f"split:{seed}:".encode() + digest).digest()[:6]) / 2**48


def side(row: dict[str, Any], seed: int) -> str:
    """Give a row's side with a quarter held out for validation and an eighth for tests."""
    draw = drawn(row, seed)
    return "valid" if draw < 0.25 else "test" if draw >= 0.875 else "train"


# With this seed one of the two rows that are alike is trained on.
SEED = next(n for n in range(100) if {side(r, n) for r in ROWS[30:32]} == {"train", "valid"})
OPTIONS: dict[str, Any] = {
    **{"max_seq_length": LIMIT, "batch_size": 3, "seed": SEED},
    **{"validation_fraction": 0.25, "test_fraction": 0.125},
}


SIDES = [side(row, SEED) for row in ROWS]
TOTAL = [lengths(row)[0] for row in ROWS]
CUT = [min(length, LIMIT) for length in TOTAL]
TRAINED = [max(0, kept - lengths(row)[1]) for kept, row in zip(CUT, ROWS, strict=True)]
SEEN = [n for n in range(len(ROWS)) if SIDES[n] == "train" and TRAINED[n]]


async def test_every_number_is_right(hub: RunningRegistry) -> None:
    model, dataset = (await hub.model()).id, await register(hub, "rows", ROWS)
    report = await ask(hub, dataset_id=dataset, model_id=model, **OPTIONS)
    assert (report.dataset_id, report.dataset_name) == (dataset, "rows")
    assert (report.base_model.name, report.base_model.digest) == ("tiny", hub.base_digest)
    split = (report.train_rows, report.valid_rows, report.test_rows)
    assert split == tuple(SIDES.count(name) for name in ("train", "valid", "test"))
    check_tokens(report)
    check_rows(report)
    check_duplicates(report)
    batches = epoch_batches([CUT[n] for n in SEEN], 3, SEED, 0)
    positions = sum(max(CUT[SEEN[n]] for n in batch) * len(batch) for batch in batches)
    padded = positions - sum(CUT[n] for n in SEEN)
    assert (report.padding.positions, report.padding.padded_positions) == (positions, padded)
    assert report.padding.share == pytest.approx(padded / positions)
    codes = [warning.code for warning in report.warnings]
    assert codes == ["MASKED_ROWS", "LEAKAGE", "DUPLICATES"]
    assert "lines 11, 12 of the dataset" in report.warnings[0].text
    assert "lines 31 and 32" in report.warnings[1].text


def check_tokens(report: report_pb.DatasetReport) -> None:
    tokens = report.tokens
    assert (tokens.total, tokens.cut) == (sum(TOTAL), sum(TOTAL) - sum(CUT))
    assert tokens.trained == sum(TRAINED[n] for n in SEEN)
    assert (tokens.min, tokens.max) == (min(TOTAL), max(TOTAL))
    assert tokens.mean == pytest.approx(sum(TOTAL) / 60)
    assert tokens.median == sum(sorted(TOTAL)[29:31]) / 2
    assert tokens.p95 == sorted(TOTAL)[56]
    for bucket in tokens.histogram:
        inside = [n for n in TOTAL if bucket.from_tokens <= n <= bucket.to_tokens]
        assert bucket.rows == len(inside)
    assert sum(bucket.rows for bucket in tokens.histogram) == report.rows == 60
    assert all(b.from_tokens == a.to_tokens + 1 for a, b in pairwise(tokens.histogram))


def check_rows(report: report_pb.DatasetReport) -> None:
    assert list(report.truncated.lines) == [11, 12, 13]
    assert list(report.masked.lines) == [11, 12]
    assert (report.refused.count, report.refusal) == (0, "")
    unseen = [n + 1 for n in range(60) if n not in SEEN]
    assert (report.never_seen.count, list(report.never_seen.lines)) == (len(unseen), unseen)


def check_duplicates(report: report_pb.DatasetReport) -> None:
    exact, close = report.exact_duplicates, report.near_duplicates
    assert (exact.groups, exact.repeats, len(exact.samples)) == (1, 2, 1)
    assert list(exact.samples[0].lines) == [21, 22, 23]
    assert (close.pairs, close.straddling_pairs, close.compared_rows) == (1, 1, 58)
    assert close.complete
    [pair] = close.samples
    assert (pair.line, pair.other_line, pair.straddles) == (31, 32, True)
    assert pair.similarity > 0.9


async def test_a_second_call_is_a_read(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset = (await hub.model()).id, await register(hub, "rows", ROWS[:10])
    first = await ask(hub, dataset_id=dataset, model_id=model)
    assert first.parameters == report_pb.ReportParameters(
        max_seq_length=512,
        batch_size=4,
        mask_prompt=True,
        validation_fraction=float(np.float32(0.1)),
    )
    monkeypatch.delattr("services.registry.reporter.Reporter.report")
    again = await ask(hub, dataset_id=dataset, model_id=model, batch_size=4, seed=0)
    assert again == first
    twin = await register(hub, "twin", ROWS[:10])
    of_twin = await ask(hub, dataset_id=twin, model_id=(await hub.model("other")).id)
    assert (of_twin.dataset_id, of_twin.dataset_name) == (twin, "twin")
    assert of_twin.tokens == first.tokens
    [(count,)] = hub.sql("SELECT count(*) FROM registry.dataset_reports")
    assert count == 1


async def test_the_same_at_once_is_made_once_and_the_child_stays_a_while(
    hub: RunningRegistry,
) -> None:
    model, dataset = (await hub.model()).id, await register(hub, "rows", ROWS[:10])
    many = await asyncio.gather(*(ask(hub, dataset_id=dataset, model_id=model) for _ in range(8)))
    assert all(report == many[0] for report in many)
    [child] = children()
    await ask(hub, dataset_id=dataset, model_id=model, seed=1)
    assert children() == [child]
    await hub.registry.reports.close()
    assert children() == []


async def test_a_lost_child_is_our_fault_and_the_next_call_works(hub: RunningRegistry) -> None:
    model, dataset = (await hub.model()).id, await register(hub, "rows", ROWS[:10])
    call = asyncio.ensure_future(ask(hub, dataset_id=dataset, model_id=model))
    await until_children(1)
    children()[0].kill()
    assert (await failure(call)).reason == "INTERNAL"
    assert (await ask(hub, dataset_id=dataset, model_id=model)).rows == 10


async def test_rows_that_the_template_refuses_are_named(
    hub: RunningRegistry, tiny_model: Path, tmp_path: Path
) -> None:
    strict = tmp_path / "strict"
    shutil.copytree(tiny_model, strict)
    config = json.loads((strict / "tokenizer_config.json").read_text())
    refusal = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns') }}"
        "{% endif %}"
    )
    config["chat_template"] = refusal + config["chat_template"]
    (strict / "tokenizer_config.json").write_text(json.dumps(config))
    await import_base(hub.settings, strict, "strict")
    model = (await hub.model("polite", base_model="strict")).id
    system = {"messages": [{"role": "system", "content": "be"}, *ROWS[0]["messages"]]}
    dataset = await register(hub, "rows", [ROWS[0], system, ROWS[1], system])
    report = await ask(hub, dataset_id=dataset, model_id=model, validation_fraction=0)
    assert (report.refused.count, list(report.refused.lines)) == (2, [2, 4])
    assert report.refusal == "no system turns"
    assert list(report.never_seen.lines) == [2, 4]
    assert report.tokens.total == sum(lengths(row)[0] for row in ROWS[:2])
    assert "REFUSED_ROWS" in [warning.code for warning in report.warnings]


async def test_text_rows_have_no_prompt(hub: RunningRegistry) -> None:
    model = (await hub.model()).id
    dataset = await register(hub, "texts", [{"text": "abc"}, {"text": "a" * 600}])
    report = await ask(hub, dataset_id=dataset, model_id=model, validation_fraction=0)
    assert not report.parameters.mask_prompt
    # Each ends with a token of its own; the first of a row is never predicted, the last one is cut.
    assert (report.tokens.total, report.tokens.trained) == (4 + 601, 3 + 511)
    asked = ask(hub, dataset_id=dataset, model_id=model, mask_prompt=True)
    assert (await failure(asked)).metadata == {"field": "mask_prompt"}


async def test_wrong_requests_name_what_is_wrong(
    hub: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset = (await hub.model()).id, await register(hub, "rows", ROWS[:10])
    good = {"dataset_id": dataset, "model_id": model}
    for fields, kind, metadata in (
        ({"dataset_id": 99}, NotFound, {"dataset_id": "99"}),
        ({"model_id": 99}, NotFound, {"model_id": "99"}),
        ({"max_seq_length": 7}, Invalid, {"field": "max_seq_length"}),
        ({"batch_size": 0}, Invalid, {"field": "batch_size"}),
        ({"test_fraction": 0.6}, Invalid, {"field": "test_fraction"}),
        (
            {"validation_fraction": 0.5, "test_fraction": 0.5},
            Invalid,
            {"field": "test_fraction"},
        ),
    ):
        error = await failure(ask(hub, **{**good, **fields}))
        assert (type(error), error.metadata) == (kind, metadata)
    monkeypatch.setattr("services.registry.flights.QUEUE_LIMIT", 0)
    error = await failure(ask(hub, **good))
    assert isinstance(error, Exhausted)
    assert error.reason == "QUEUE_FULL"


async def test_a_changed_file_is_no_dataset(hub: RunningRegistry) -> None:
    model, dataset = (await hub.model()).id, await register(hub, "rows", ROWS[:10])
    [stored] = (hub.archive / "datasets").glob("*.jsonl")
    content = stored.read_bytes()
    stored.write_bytes(content.replace(b"user", b"usre", 1))
    error = await failure(ask(hub, dataset_id=dataset, model_id=model))
    assert isinstance(error, DataLoss)
    assert error.reason == "ARTIFACT_CORRUPT"
    stored.unlink()
    error = await failure(ask(hub, dataset_id=dataset, model_id=model))
    assert error.reason == "ARTIFACT_CORRUPT"
    assert str(hub.archive) not in error.message
    stored.write_bytes(content)
    assert (await ask(hub, dataset_id=dataset, model_id=model)).rows == 10
