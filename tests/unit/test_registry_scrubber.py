"""How fast the background check reads, and how it ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.registry.scrubber import Reader, Stopped


def test_reading_keeps_to_its_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x" * 1000)
    reader, pauses = Reader(100), []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    patched: Callable[[float], bool] = wait
    monkeypatch.setattr(reader._stopped, "wait", patched)
    assert reader.hash_file(file).size == 1000
    assert len(pauses) == 10, "no chunk is more than a second's worth"
    assert pauses[-1] == pytest.approx(10, abs=0.5), "nobody slept, so all of it is due"
    assert reader.read == 1000


def test_a_reading_ends_at_the_next_chunk(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x" * 1000)
    reader = Reader(1)
    reader.stop()
    with pytest.raises(Stopped):
        reader.hash_file(file)
    assert reader.read == 1
