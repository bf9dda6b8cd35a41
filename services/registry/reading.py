"""One pass over a dataset's bytes, however they are cut: hashed, counted, checked line by line."""

import hashlib
from dataclasses import dataclass

from services.chassis.errors import Invalid, Violation
from services.registry.domain import DatasetFile, DatasetSchema
from services.registry.rows import RowError, schema_of

MOST_REPORTED = 20


@dataclass(frozen=True)
class Limits:
    """The largest dataset that is taken in."""

    file_bytes: int
    rows: int
    line_bytes: int


class Reading:
    """Takes bytes as they come; holds no more than one line of them."""

    def __init__(self, limits: Limits) -> None:
        """Begin at line 1."""
        self._limits = limits
        self._hash = hashlib.sha256()
        self._line = bytearray()
        self._rows = 0
        self._bytes = 0
        self._schema: DatasetSchema | None = None
        self._schema_line = 0
        self._bad: list[Violation] = []

    def feed(self, piece: bytes) -> None:
        """Check the lines that end in this piece; refuse at once what no more bytes can mend."""
        self._hash.update(piece)
        self._bytes += len(piece)
        if self._bytes > self._limits.file_bytes:
            raise self._stopped(f"a dataset may have {self._limits.file_bytes} bytes")
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            self._extend(piece[start:end])
            self._end_line()
            start = end + 1
        self._extend(piece[start:])

    def finish(self) -> DatasetFile:
        """Sum up what was read, or name the lines that are bad."""
        if self._line:
            self._end_line()
        if self._schema is None and not self._bad:
            raise self._stopped("the file has no rows")
        if self._schema is None or self._bad:
            raise self._refused()
        return DatasetFile(self._hash.hexdigest(), self._schema, self._rows, self._bytes)

    def _extend(self, part: bytes) -> None:
        self._line += part
        if len(self._line) > self._limits.line_bytes:
            raise self._stopped(f"longer than {self._limits.line_bytes} bytes")

    def _end_line(self) -> None:
        if self._rows == self._limits.rows:
            raise self._stopped(f"a dataset may have {self._limits.rows} rows")
        self._rows += 1
        try:
            self._check(bytes(self._line))
        except RowError as error:
            self._report(self._rows, str(error))
            if len(self._bad) == MOST_REPORTED:
                raise self._refused() from error
        self._line.clear()

    def _check(self, line: bytes) -> None:
        schema = schema_of(line)
        if self._schema is None:
            self._schema, self._schema_line = schema, self._rows
        if schema is not self._schema:
            raise RowError(
                f"a {schema} row, but line {self._schema_line} is a {self._schema} row; "
                "keep to one shape"
            )

    def _report(self, line: int, why: str) -> None:
        self._bad.append(Violation(f"line {line}", why))

    def _stopped(self, why: str) -> Invalid:
        self._report(self._rows + 1, why)
        return self._refused()

    def _refused(self) -> Invalid:
        first, *others = self._bad
        more = f" (and {len(others)} more bad lines)" if others else ""
        return Invalid(
            "DATASET_ROW_INVALID",
            f"{first.field}: {first.description}{more}",
            metadata={"line": first.field.removeprefix("line ")},
            violations=tuple(self._bad),
        )
