"""Point MLX's CPU matrix product at OpenBLAS (Linux only). Why: docs/adr/0003-blas-redirect.md.

The Linux wheel of MLX calls netlib's reference BLAS: one thread, no SIMD, some 6 GFLOP/s. MLX
reaches it through one import slot, `cblas_sgemm`, so writing another address into that slot is the
whole fix. The replacement comes from the scipy-openblas32 wheel, which has the same ABI (32-bit
integers). It gets one thread fewer than there are cores, or OPENBLAS_NUM_THREADS, set in advance.
"""

import ctypes
import logging
import mmap
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import mlx.core as mx
import numpy as np

from services.runtime.elf import ElfError, import_slots

_log = logging.getLogger(__name__)
_SYMBOL = "cblas_sgemm"
_PROT_READ, _PROT_WRITE = 1, 2


@dataclass(frozen=True)
class BlasReport:
    """What `redirect` did: whether MLX calls OpenBLAS now, why or why not, by what."""

    redirected: bool
    detail: str
    threads: int = 0
    core: str = ""


@dataclass(frozen=True)
class _Mapping:
    """One line of /proc/self/maps: addresses, whether writable, and the file behind it."""

    start: int
    end: int
    writable: bool
    path: str


@cache
def redirect() -> BlasReport:
    """Make MLX's CPU float32 matmul use OpenBLAS; check it against NumPy; undo it if it is wrong.

    Does nothing on other systems, when MLX's default device is a GPU, or with MLX_HUB_BLAS=stock.
    Never raises for a reason of its own: slow is better than down. Idempotent within the process.
    """
    report = _redirect()
    level = logging.ERROR if report.detail.startswith("reverted") else logging.INFO
    _log.log(level, "blas: %s", report.detail)
    return report


def threads() -> int:
    """Give the threads that a product is computed by; 0 where OpenBLAS does not compute it."""
    return int(_load_openblas().scipy_openblas_get_num_threads()) if redirect().redirected else 0


def use_threads(count: int) -> None:
    """Compute by so many threads from now on, as the last bits of a product depend on their number.

    0 leaves it as it is.
    """
    if count and redirect().redirected:
        _load_openblas().scipy_openblas_set_num_threads(count)


def _redirect() -> BlasReport:
    if os.environ.get("MLX_HUB_BLAS", "openblas") == "stock":
        return BlasReport(False, "stock BLAS kept, as MLX_HUB_BLAS asks")
    if sys.platform != "linux":
        return BlasReport(False, f"stock BLAS kept on {sys.platform}")
    if mx.default_device() != mx.Device(mx.cpu):
        return BlasReport(False, "stock BLAS kept: MLX computes on a GPU")
    try:
        slots, openblas = _libmlx_slots(), _load_openblas()
        target = ctypes.cast(openblas.scipy_cblas_sgemm, ctypes.c_void_p).value or 0
        saved = [_write(slot, target) for slot in slots]
        if "OPENBLAS_NUM_THREADS" not in os.environ:
            # Its threads spin while they wait: with no core left, two processes stop each other.
            openblas.scipy_openblas_set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
    except (ImportError, OSError, ElfError, AttributeError) as error:
        return BlasReport(False, f"stock BLAS kept: {error}")
    if not _agrees_with_numpy():
        for slot, value in zip(slots, saved, strict=True):
            _write(slot, value)
        return BlasReport(
            False, "reverted to the stock BLAS: OpenBLAS's results did not match NumPy's"
        )
    threads = int(openblas.scipy_openblas_get_num_threads())
    for tells in (openblas.scipy_openblas_get_config, openblas.scipy_openblas_get_corename):
        tells.restype = ctypes.c_char_p
    version = openblas.scipy_openblas_get_config().decode()
    core = openblas.scipy_openblas_get_corename().decode()
    detail = f"MLX now uses {version.strip()} with {threads} threads"
    return BlasReport(True, detail, threads, core)


def _load_openblas() -> ctypes.CDLL:
    """Load OpenBLAS from its wheel (the library stays loaded for the life of the process)."""
    wheel = import_module("scipy_openblas32")  # installed on Linux only
    library = Path(wheel.get_lib_dir(), wheel.get_library(fullname=True))
    return ctypes.CDLL(str(library))


def _libmlx_slots() -> list[int]:
    """Return the absolute addresses of libmlx's slots for the symbol. Raises OSError, ElfError."""
    library = next((m for m in _mappings() if Path(m.path).name == "libmlx.so"), None)
    if library is None:
        raise OSError("libmlx.so is not loaded as a library of its own")
    image = Path(library.path).read_bytes()
    # The first mapping of a library holds its file offset 0, which is its load base.
    slots = [library.start + slot for slot in import_slots(image, _SYMBOL)]
    if not slots:
        raise ElfError(f"this libmlx.so does not import {_SYMBOL}")
    return slots


def _mappings() -> Iterator[_Mapping]:
    """Yield this process's memory mappings, in ascending order of address."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, permissions, _offset, _device, _inode, *path = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in span.split("-"))
        yield _Mapping(start, end, "w" in permissions, path[0] if path else "")


def _write(slot: int, value: int) -> int:
    """Store `value` in the eight bytes at `slot`; return what was there. Raises OSError."""
    cell = ctypes.c_uint64.from_address(slot)
    previous = int(cell.value)
    if next(m.writable for m in _mappings() if m.start <= slot < m.end):
        cell.value = value
        return previous
    # With full RELRO the loader has made the page read-only: open it for the one store.
    page = slot & -mmap.PAGESIZE
    _protect(page, _PROT_READ | _PROT_WRITE)
    cell.value = value
    _protect(page, _PROT_READ)
    return previous


def _protect(page: int, protection: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), protection) != 0:
        raise OSError(ctypes.get_errno(), "mprotect refused")


def _agrees_with_numpy() -> bool:
    """Compare MLX's products with NumPy's in float64: vectors, odd sizes, transposes, a batch."""
    random = np.random.default_rng(0)
    for m, k, n in ((1, 64, 48), (7, 33, 5), (128, 130, 96), (257, 64, 1)):
        for flip_a in (False, True):
            for flip_b in (False, True):
                a = random.standard_normal((2, k, m) if flip_a else (2, m, k), dtype=np.float32)
                b = random.standard_normal((2, n, k) if flip_b else (2, k, n), dtype=np.float32)
                x, y = mx.array(a), mx.array(b)
                got = np.array(
                    (x.swapaxes(1, 2) if flip_a else x) @ (y.swapaxes(1, 2) if flip_b else y)
                )
                # By NumPy's own loops: its BLAS would start threads, which spin on after it.
                want = np.einsum(
                    "zmk,zkn->zmn",
                    (a.swapaxes(1, 2) if flip_a else a).astype(np.float64),
                    (b.swapaxes(1, 2) if flip_b else b).astype(np.float64),
                )
                if not np.allclose(got, want, rtol=1e-4, atol=1e-4):
                    return False
    return True
