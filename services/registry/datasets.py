"""Datasets come in here: read once, checked row by row, and copied under their own hash."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.chassis.errors import Invalid
from services.registry import files
from services.registry.artifacts import Artifacts
from services.registry.domain import DatasetFile, DatasetSchema
from services.registry.rows import RowError, schema_of

SUFFIX = ".jsonl"


@dataclass(frozen=True)
class Limits:
    """The largest dataset that is taken in."""

    file_bytes: int
    rows: int
    line_bytes: int


class DatasetFiles:
    """Takes in files of the dataset root. Everything here blocks: call it in a thread."""

    def __init__(self, root: Path, artifacts: Artifacts, limits: Limits) -> None:
        """Know where files come from, where they go, and how large they may be."""
        self._root = root
        self._artifacts = artifacts
        self._limits = limits

    def take_in(self, path: str) -> DatasetFile:
        """Copy a dataset into the archive.

        What was checked is what was hashed and copied: the file is read once.
        """
        if not path.endswith(SUFFIX):
            raise _unreadable(path, f"its name must end in {SUFFIX}")
        archive = self._artifacts.archive / "datasets"
        fresh = archive / f"{files.TEMPORARY}{uuid.uuid4().hex}"
        try:
            with files.full_disk_named(archive), files.file_beneath(self._root, path) as source:
                reading = _Reading(source, self._limits)
                files.write_synced(fresh, reading.lines())
                self._artifacts.put(fresh, "datasets", f"{reading.checksum}{SUFFIX}")
                return reading.found()
        except files.UnreadableError as error:
            raise _unreadable(path, "it must be a regular file below it, without links") from error
        finally:
            files.remove(fresh)


class _Reading:
    """One pass over a file."""

    def __init__(self, source: int, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._hash = hashlib.sha256()
        self._schema: DatasetSchema | None = None
        self._rows = 0
        self._bytes = 0

    def lines(self) -> Iterator[bytes]:
        """Check every line and pass it on."""
        with os.fdopen(os.dup(self._source), "rb") as file:
            while line := file.readline(self._limits.line_bytes + 1):
                self._count(line)
                self._check(line)
                self._hash.update(line)
                yield line
        if not self._rows:
            raise _bad_row(1, "the file has no rows")

    @property
    def checksum(self) -> str:
        """Give the hash of what was read."""
        return self._hash.hexdigest()

    def found(self) -> DatasetFile:
        """Sum up a reading that came to its end."""
        if self._schema is None:
            raise _bad_row(1, "the file has no rows")
        return DatasetFile(self.checksum, self._schema, self._rows, self._bytes)

    def _count(self, line: bytes) -> None:
        self._rows += 1
        self._bytes += len(line)
        if len(line) > self._limits.line_bytes:
            raise _bad_row(self._rows, f"longer than {self._limits.line_bytes} bytes")
        if self._rows > self._limits.rows:
            raise _bad_row(self._rows, f"a dataset may have {self._limits.rows} rows")
        if self._bytes > self._limits.file_bytes:
            raise _bad_row(self._rows, f"a dataset may have {self._limits.file_bytes} bytes")

    def _check(self, line: bytes) -> None:
        try:
            schema = schema_of(line)
        except RowError as error:
            raise _bad_row(self._rows, str(error)) from error
        if schema is not (self._schema or schema):
            raise _bad_row(
                self._rows, f"a {schema} row among {self._schema} rows; keep to one shape"
            )
        self._schema = schema


def _unreadable(path: str, why: str) -> Invalid:
    return Invalid(
        "DATASET_FILE_UNREADABLE",
        f"the dataset root has no file {path!r} that can be read: {why}",
        metadata={"path": path},
        field="path",
    )


def _bad_row(line: int, why: str) -> Invalid:
    return Invalid(
        "DATASET_ROW_INVALID", f"line {line}: {why}", metadata={"line": str(line)}, field="path"
    )
