"""Finding a symbol's import slots in an ELF shared library, by reading the file.

Enough of ELF64 little-endian with RELA relocations for x86-64 and aarch64 Linux; nothing is
written and nothing is loaded. Source: the System V gABI, chapters 4 and 5, and its two processor
supplements.
"""

import struct
from collections.abc import Iterator

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_JMPREL = 2, 5, 6, 7, 8, 23
# Machine -> (GLOB_DAT, JUMP_SLOT): the two relocations that hold an imported function's address.
_SLOT_TYPES = {62: (6, 7), 183: (1025, 1026)}


class ElfError(ValueError):
    """The file is not an ELF library of a kind this module reads."""


def import_slots(image: bytes, symbol: str) -> list[int]:
    """Return where the GOT slots for `symbol` are, as addresses relative to the load base.

    `image` is the whole library file. An empty list means the library does not import the symbol.
    Raises ElfError unless the file is complete 64-bit little-endian ELF for x86-64 or aarch64.
    """
    try:
        return list(_slots(image, symbol.encode()))
    except (struct.error, KeyError, IndexError, OverflowError) as error:
        raise ElfError(f"unreadable ELF structure: {error!r}") from error


def _slots(image: bytes, symbol: bytes) -> Iterator[int]:
    if image[:6] != b"\x7fELF\x02\x01":
        raise ElfError("not a 64-bit little-endian ELF file")
    (machine,) = struct.unpack_from("<H", image, 18)
    if machine not in _SLOT_TYPES:
        raise ElfError(f"unsupported ELF machine {machine}")
    segments = list(_segments(image))

    def offset_of(address: int) -> int:
        for kind, offset, start, size in segments:
            if kind == _PT_LOAD and start <= address < start + size:
                return offset + address - start
        raise ElfError(f"address {address:#x} lies in no segment")

    dynamic = _dynamic(image, segments)
    symbols, strings = offset_of(dynamic[_DT_SYMTAB]), offset_of(dynamic[_DT_STRTAB])
    for table, size in ((_DT_RELA, _DT_RELASZ), (_DT_JMPREL, _DT_PLTRELSZ)):
        if table not in dynamic:
            continue
        start = offset_of(dynamic[table])
        for slot, info, _addend in struct.iter_unpack("<QQq", image[start : start + dynamic[size]]):
            if info & 0xFFFFFFFF in _SLOT_TYPES[machine]:
                (name,) = struct.unpack_from("<I", image, symbols + 24 * (info >> 32))
                if image.startswith(symbol + b"\0", strings + name):
                    yield slot


def _segments(image: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (type, file offset, address, bytes in file) of every program header."""
    (table,) = struct.unpack_from("<Q", image, 32)
    entry, count = struct.unpack_from("<HH", image, 54)
    for index in range(count):
        kind, _flags, offset, address, _, size = struct.unpack_from(
            "<IIQQQQ", image, table + index * entry
        )
        yield kind, offset, address, size


def _dynamic(image: bytes, segments: list[tuple[int, int, int, int]]) -> dict[int, int]:
    """Return the dynamic section as {tag: value}."""
    for kind, start, _, size in segments:
        if kind == _PT_DYNAMIC:
            return dict(struct.iter_unpack("<QQ", image[start : start + size]))
    raise ElfError("no dynamic section")
