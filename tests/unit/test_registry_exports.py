"""Where exports are kept, and what is said of those that could not be made."""

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from services.chassis.errors import (
    DataLoss,
    Exhausted,
    FailedPrecondition,
    HubError,
    NotFound,
)
from services.registry.exporter import _failure
from services.registry.shelf import Label, Shelf

CONTENT = b"0123456789"
FIRST, SECOND = Label(1, 2, "a" * 64), Label(1, 3, "b" * 64)


def put(shelf: Shelf, label: Label, age: float = 0) -> Path:
    staged = shelf.folder / ".staged-x"
    staged.mkdir(parents=True)
    (staged / "weights").write_bytes(CONTENT)
    report = {"form": "peft", "files": [{"name": "weights", "size": 10, "sha256": "5" * 64}]}
    (staged / "export.json").write_text(json.dumps(report))
    place = shelf.folder / shelf.place(staged, label).label.name
    os.utime(place, (time.time() - age, time.time() - age))
    return place


def test_an_export_is_found_until_its_time_is_over(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 1000, 100)
    assert shelf.find(FIRST) is None
    put(shelf, FIRST, age=90)
    put(shelf, SECOND, age=101)
    found = shelf.get(FIRST)
    assert [file.name for file in found.files] == ["weights", "export.json"]
    assert found.expires_at - time.time() < 11
    shelf.sweep()
    with pytest.raises(NotFound) as caught:
        shelf.get(SECOND)
    assert caught.value.metadata["version"] == "3"
    renewed = shelf.renew(FIRST)
    assert renewed
    assert renewed.expires_at - time.time() > 90


@pytest.mark.parametrize("name", ["weights", "export.json"])
def test_one_that_lacks_something_is_none(tmp_path: Path, name: str) -> None:
    shelf = Shelf(tmp_path, 1000, 100)
    place = put(shelf, FIRST)
    (place / name).write_bytes(b"{}")
    assert shelf.renew(FIRST) is None
    assert not place.exists()


def test_the_oldest_makes_room(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 500, 100)
    old, new = put(shelf, FIRST, age=50), put(shelf, SECOND)
    shelf.make_room(10)
    assert old.exists()
    shelf.make_room(300)
    assert (old.exists(), new.exists()) == (False, True)
    with pytest.raises(FailedPrecondition) as caught:
        shelf.make_room(501)
    assert caught.value.metadata == {"needed_bytes": "501", "limit_bytes": "500"}
    assert new.exists()


def test_what_a_killed_registry_left_goes(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 500, 100)
    kept = put(shelf, FIRST)
    (shelf.folder / ".staged-y" / "folder").mkdir(parents=True)
    shelf.clear()
    assert list(shelf.folder.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("told", "kind", "reason", "metadata"),
    [
        ({"errno": errno.ENOSPC}, Exhausted, "DISK_FULL", {}),
        ({"reason": "ARTIFACT_CORRUPT", "field": ""}, DataLoss, "ARTIFACT_CORRUPT", {"file": "x"}),
        (
            {"reason": "EXPORT_REFUSED", "field": "format"},
            FailedPrecondition,
            "EXPORT_REFUSED",
            {"file": "x", "field": "format"},
        ),
        ({"errno": errno.EFBIG}, RuntimeError, "", {}),
    ],
)
def test_what_the_child_says_becomes_an_error_without_paths(
    told: dict[str, Any], kind: type[Exception], reason: str, metadata: dict[str, str]
) -> None:
    said = {"message": "no /home/x/.staged-1/work here", "facts": {"file": "x"}}
    failed = {"errno": None, **said, **told}
    found = _failure(failed, Path("/home/x/.staged-1"))
    assert isinstance(found, kind)
    if isinstance(found, HubError):
        assert found.reason == reason
        assert found.metadata == metadata
        assert "/home" not in found.message
