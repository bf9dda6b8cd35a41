"""One pass over bytes: the same answer however they are cut, and the same rows as the trainer's."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import Invalid
from services.registry.domain import DatasetFile, DatasetSchema
from services.registry.reading import Limits, Reading
from services.runtime.rows import read_rows

WIDE = Limits(file_bytes=10_000_000, rows=100_000, line_bytes=1_000_000)
ROW = b'{"text": "x"}\n'
COMPLETION = b'{"prompt": "p", "completion": "c"}\n'


def read(*pieces: bytes, limits: Limits = WIDE) -> DatasetFile:
    reading = Reading(limits)
    for piece in pieces:
        reading.feed(piece)
    return reading.finish()


def refusal(*pieces: bytes, limits: Limits = WIDE) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(*pieces, limits=limits)
    assert caught.value.reason == "DATASET_ROW_INVALID"
    return caught.value


@given(st.lists(st.sampled_from([ROW, COMPLETION, b"{\n", b"\n", b"\r\n", b"{}"]), max_size=6))
def test_the_cut_changes_nothing(lines: list[bytes]) -> None:
    content = b"".join(lines)
    answers = []
    for size in (1, 2, 5, len(content) + 1):
        cut = [content[n : n + size] for n in range(0, len(content), size)]
        try:
            answers.append(str(read(*cut)))
        except Invalid as error:
            answers.append(f"{error.message} {error.metadata} {error.violations}")
    assert len(set(answers)) == 1


def test_what_was_read_is_summed_up() -> None:
    content = ROW * 3 + ROW.rstrip()
    found = DatasetFile(hashlib.sha256(content).hexdigest(), DatasetSchema.TEXT, 4, len(content))
    assert read(content) == found


def test_the_end_of_the_last_line_may_be_missing_and_lines_may_end_in_crlf() -> None:
    assert read(b'{"text": "a"}\r\n{"text": "b"}\r\n').rows == 2
    assert read(b'{"text": "a"}\n{"text": "b"}').rows == 2
    assert refusal(b'{"text": "a"}\r{"text": "b"}\r').metadata == {"line": "1"}, "one line to both"


@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        (b"", 1, "no rows"),
        (b"\n", 1, "blank"),
        (ROW + b"\n", 2, "blank"),
        (ROW + b" \t\r\n" + ROW, 2, "blank"),
        (b"\xef\xbb\xbf" + ROW, 1, "byte order mark"),
        (ROW + b"\xff\xfe{\x00}\x00", 2, "UTF-8 at byte 1"),
        (ROW.decode().encode("utf-16"), 1, "UTF-8"),
        (ROW.decode().encode("utf-16-le"), 1, "not valid JSON"),
        (ROW + b'{"text": "a" "b"}', 2, "column 14"),
        (ROW + COMPLETION, 2, "a completion row, but line 1 is a text row"),
        (b"{\n" + ROW + ROW + COMPLETION, 1, "not valid JSON"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(content: bytes, line: int, why: str) -> None:
    error = refusal(content)
    assert error.metadata == {"line": str(line)}
    assert why in error.message
    assert error.message.startswith(f"line {line}: ")


def test_the_first_good_row_sets_the_shape_and_is_named() -> None:
    error = refusal(b"{\n" + ROW + ROW + COMPLETION + b'{"text": 1}\n')
    assert [v.field for v in error.violations] == ["line 1", "line 4", "line 5"]
    assert "but line 2 is a text row" in error.violations[1].description
    assert error.message.endswith("(and 2 more bad lines)")


def test_no_more_than_twenty_lines_are_named_and_the_rest_is_not_read() -> None:
    reading = Reading(WIDE)
    reading.feed(b"{\n" * 19)
    with pytest.raises(Invalid) as caught:
        reading.feed(b"{\n" * 19)
    assert [v.field for v in caught.value.violations] == [f"line {n}" for n in range(1, 21)]
    worst = "".join(f"{v.field}{v.description}" for v in caught.value.violations)
    assert len(worst) < 4000, "it travels in a header"


@pytest.mark.parametrize(
    ("limits", "content", "line", "why"),
    [
        (Limits(1000, 5, 100), ROW * 6, 6, "5 rows"),
        (Limits(30, 5, 100), ROW * 3, 1, "30 bytes"),
        (Limits(1000, 5, 20), ROW + b"x" * 21, 2, "20 bytes"),
        (Limits(1000, 5, 20), b"{\n" + b"x" * 21, 1, "not valid JSON"),
    ],
)
def test_limits_hold_before_the_end(limits: Limits, content: bytes, line: int, why: str) -> None:
    for size in (len(content), 1):
        reading = Reading(limits)
        with pytest.raises(Invalid, match=why) as caught:
            for n in range(0, len(content), size):
                reading.feed(content[n : n + size])
        assert size == 1 or caught.value.metadata == {"line": str(line)}
    assert read(ROW * 5, limits=Limits(len(ROW) * 5, 5, len(ROW) - 1)).rows == 5


def nested(depth: int) -> bytes:
    """Give a text row that is `depth` deep, its own object counted."""
    return b'{"text": "x", "meta": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


CURIOUS = (
    b'{"text": "x", "n": %s}' % (b"1" * 4300),
    b'{"text": "x", "n": 1e999}',
    nested(100),
    b'{"text": "\\u0000"}',
    b'{"text": "a\xc2\x85b\xe2\x80\xa8c"}',  # line ends to Python, text to JSON
    b'\t {"text": "x"} \r',
)
REFUSED = (
    *(b'{"text": "x", "n": %s}' % name for name in (b"NaN", b"Infinity", b"-Infinity")),
    b'{"text": "x", "n": %s}' % (b"1" * 4301),
    *(nested(depth) for depth in (101, 50_000)),
    b'{"text": "x", "text": "y"}',
    b'{"text": "x", "meta": {"a": 1, "a": 2}}',
    b'{"text": "x", "te\\u0078t": "y"}',
    b'{"text": "a\x00b"}',
    b'{"text": "x"}\x0b{"text": "x"}',
    b'\x0c{"text": "x"}',
    b"\xef\xbb\xbf" + ROW.strip(),
    b"",
)


@pytest.mark.parametrize("line", REFUSED, ids=range(len(REFUSED)))
def test_what_readers_might_take_differently_is_refused(line: bytes) -> None:
    assert refusal(ROW + line + b"\n" + ROW).metadata == {"line": "2"}


@pytest.mark.parametrize("line", CURIOUS, ids=range(len(CURIOUS)))
def test_what_is_taken_in_is_read_the_same_by_the_trainer(line: bytes, tmp_path: Path) -> None:
    content = ROW + line + b"\n" + ROW
    path = tmp_path / "d.jsonl"
    path.write_bytes(content)
    rows = list(read_rows(path, read(content).checksum))
    assert [row.line for row in rows] == [1, 2, 3]
    assert rows[1].content == json.loads(line.decode())
    assert isinstance(rows[1].content["text"], str)


@given(st.binary(max_size=30))
def test_no_line_is_taken_in_that_the_trainer_reads_otherwise(line: bytes) -> None:
    content = b'{"text": "' + line + b'"}'
    try:
        rows = read(content).rows
    except Invalid:
        return
    again = [json.loads(part) for part in content.split(b"\n") if part.strip()]
    assert len(again) == rows
    assert again[0]["text"] == json.loads(content.decode())["text"]
