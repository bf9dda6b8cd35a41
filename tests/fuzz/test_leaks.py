"""The detector can fail: planted bodies are found, honest ones are not."""

import pytest

from tests.fuzz.aftermath import is_fault
from tests.fuzz.leaks import leaks


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        ("Traceback (most recent call last):\n  ...", "traceback"),
        ('File "<stdin>", line 3, in f', "traceback"),
        ("no such file: /home/ann/.mlx-hub/active/3/data.jsonl", "path of the node"),
        ("can't open '/tmp/mlx-hub-e2e-1/home'", "path of the node"),
        ("see .venv/lib/python3.12/site-packages/grpc", "path of the node"),
        ("[SQL: SELECT models.id FROM models WHERE models.id = %s]", "SQL"),
        ("UPDATE registry.models SET name = 'a'", "SQL"),
        ('duplicate key value violates unique constraint "models_name_key"', "SQL"),
        ("Unexpected <class 'RuntimeError'>: boom", "name of an exception"),
        ("Exception deserializing request! DecodeError", "name of an exception"),
        ("StatementError: can't adapt", "name of an exception"),
        ("<_io.BytesIO object at 0x7f00aa>", "name of an exception"),
    ],
)
def test_a_leak_is_found(planted: str, kind: str) -> None:
    assert [found.split(": ")[0] for found in leaks(planted)].count(kind) >= 1


@pytest.mark.parametrize(
    "honest",
    [
        "name: must match the pattern `^[a-z0-9][a-z0-9._-]{0,99}$`",
        "path: the file can't be opened under the dataset root",
        "internal error; the log has more under request id 4f",
        "the model has ready versions; select another or update it with force",
        "GET /models/7/versions/2/lineage",
        "unknown field `traceback`",
    ],
)
def test_honest_words_are_no_leak(honest: str) -> None:
    assert leaks(honest) == []


def test_what_the_caller_sent_is_no_leak() -> None:
    assert leaks("no dataset named /tmp/x", sent='path: "/tmp/x"') == []
    assert leaks("no dataset named /tmp/x", sent="path: y") != []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"level": "ERROR", "message": "x"}', True),
        ('{"level": "WARNING", "exception": "Traceback (most recent call last)"}', True),
        ("RuntimeError: boom", True),
        ('{"level": "INFO", "message": "Generate OK"}', False),
        ('{"level": "WARNING", "message": "the disk is nearly full"}', False),
    ],
)
def test_a_fault_in_a_log_is_found(line: str, fault: bool) -> None:
    assert is_fault(line) is fault
