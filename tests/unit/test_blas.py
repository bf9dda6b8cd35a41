"""Redirecting MLX's matrix product: the right slot, a checked result, and a way back."""

import ctypes
import json
import mmap
import os
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import mlx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.blas import _mappings, _write
from services.runtime.elf import ElfError, import_slots

linux = pytest.mark.skipif(sys.platform != "linux", reason="MLX's CPU build is Linux's")
SETTINGS = ("MLX_HUB_BLAS", "OPENBLAS_NUM_THREADS")
LIBMLX = Path(next(iter(mlx.__path__)), "lib", "libmlx.so")

CHILD = """
import json, sys
import mlx.core as mx
from services.runtime import blas
if "wrong" in sys.argv:
    blas._agrees_with_numpy = lambda: False
report = blas.redirect()
a, b = mx.arange(6.0).reshape(2, 3), mx.arange(12.0).reshape(4, 3)
print(json.dumps({
    "redirected": report.redirected, "detail": report.detail, "threads": report.threads,
    "again": blas.redirect() is report, "product": (a @ b.T).tolist(),
}))
"""


def redirect_in_a_child(*arguments: str, **environment: str) -> dict[str, object]:
    """The change is for a whole process, so each case runs in one of its own."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        env={k: v for k, v in os.environ.items() if k not in SETTINGS} | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    report: dict[str, object] = json.loads(done.stdout)
    assert report["again"]
    assert report["product"] == [[5, 14, 23, 32], [14, 50, 86, 122]]
    return report


@linux
def test_redirects_with_the_threads_asked_for() -> None:
    report = redirect_in_a_child(OPENBLAS_NUM_THREADS="1")
    assert report["redirected"]
    assert report["threads"] == 1
    assert "OpenBLAS" in str(report["detail"])


@linux
def test_leaves_a_core_to_others() -> None:
    assert redirect_in_a_child()["threads"] == max(1, len(os.sched_getaffinity(0)) - 1)


def test_can_be_turned_off() -> None:
    assert not redirect_in_a_child(MLX_HUB_BLAS="stock")["redirected"]


@linux
def test_a_wrong_result_is_taken_back() -> None:
    report = redirect_in_a_child("wrong")
    assert not report["redirected"]
    assert str(report["detail"]).startswith("reverted")


@linux
def test_writes_to_a_page_the_loader_closed() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    page = libc.mmap(None, ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ, private, -1, 0)
    assert _write(page + 16, 42) == 0
    assert _write(page + 16, 43) == 42
    assert not next(m.writable for m in _mappings() if m.start <= page < m.end)


@linux
def test_finds_the_slot_in_the_library_installed() -> None:
    image = LIBMLX.read_bytes()
    assert len(import_slots(image, "cblas_sgemm")) == 1
    assert import_slots(image, "cblas_sgem") == []


def library(machine: int, relocation: int) -> bytes:
    """A minimal library that imports `other` and `wanted`, the latter through slot 0x1000."""
    strings = b"\0other\0wanted\0".ljust(16, b"\0")
    symbols = struct.pack("<I20x", 0) + struct.pack("<I20x", 1) + struct.pack("<I20x", 7)
    slots = struct.pack("<QQq", 0x0FF8, 1 << 32 | relocation, 0)
    slots += struct.pack("<QQq", 0x1000, 2 << 32 | relocation, 0)
    start = 64 + 2 * 56
    at_symbols, at_slots = start + 16, start + 16 + len(symbols)
    at_dynamic = at_slots + len(slots)
    dynamic = struct.pack("<8Q", 5, start, 6, at_symbols, 23, at_slots, 2, len(slots))
    end = at_dynamic + len(dynamic)
    header = struct.pack("<6s10xHHIQQQIHHHHHH", b"\x7fELF\x02\x01", 3, machine, 1, 0, 64, 0, 0,
                         64, 56, 2, 0, 0, 0)  # fmt: skip
    segments = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, end, end, 4096)
    segments += struct.pack("<IIQQQQQQ", 2, 4, at_dynamic, at_dynamic, 0, len(dynamic), 0, 8)
    return header + segments + strings + symbols + slots + dynamic


@pytest.mark.parametrize(("machine", "kinds"), [(62, (6, 7)), (183, (1025, 1026))])
def test_knows_both_processors(machine: int, kinds: tuple[int, int]) -> None:
    for kind in kinds:
        assert import_slots(library(machine, kind), "wanted") == [0x1000]
    assert import_slots(library(machine, 1), "wanted") == []


def test_refuses_other_files() -> None:
    for image in (b"", b"MZ", library(40, 7), library(62, 7)[:-8]):
        with pytest.raises(ElfError):
            import_slots(image, "wanted")


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_a_damaged_library_raises_nothing_else(where: int, damage: bytes) -> None:
    image = library(62, 7)
    with suppress(ElfError):
        import_slots(image[:where] + damage + image[where + len(damage) :], "wanted")
