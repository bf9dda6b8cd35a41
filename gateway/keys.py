"""API keys as the operator writes them: `name:scope+scope:key`. Only their hashes are kept."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.scopes import SCOPES

VARIABLES = ("MLX_HUB_API_KEYS", "MLX_HUB_API_KEYS_FILE")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}")
_OTHERS = 0o077


@dataclass(frozen=True)
class ApiKey:
    """Who has a key, and what it is good for."""

    name: str
    scopes: tuple[str, ...]
    digest: str
    """SHA-256 of the key, in hexadecimal."""

    def __str__(self) -> str:
        """Give the form it was written in, without the key."""
        return f"{self.name}:{'+'.join(self.scopes)}:***"


def parse(text: object) -> object:
    """Read entries that commas, spaces or line ends separate; what is no text is passed on."""
    if not isinstance(text, str):
        return text
    entries = text.replace(",", " ").split()
    return tuple(_entry(entry, f"entry {n}") for n, entry in enumerate(entries, 1))


def read(path: Path) -> tuple[ApiKey, ...]:
    """Read a file with one entry on each line; empty lines and those with # are left out."""
    try:
        lines = path.read_text().splitlines()
        shared = path.stat().st_mode & _OTHERS
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"MLX_HUB_API_KEYS_FILE: {path} can't be read") from None
    if shared:
        raise ValueError(
            f"MLX_HUB_API_KEYS_FILE: others may read or change {path}; run `chmod 600` on it"
        )
    return tuple(
        _entry(line.strip(), f"MLX_HUB_API_KEYS_FILE line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    )


def without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Give an environment for a program that has no business with keys."""
    return {name: value for name, value in environment.items() if name not in VARIABLES}


def check(keys: Iterable[ApiKey]) -> None:
    """Refuse two entries of one name or of one key."""
    known: dict[str, str] = {}
    names: set[str] = set()
    for key in keys:
        if key.name in names:
            raise ValueError(f"API key {key.name!r} is given twice; names must differ")
        if other := known.get(key.digest):
            raise ValueError(f"API keys {other!r} and {key.name!r} are the same key")
        names.add(key.name)
        known[key.digest] = key.name


def _entry(entry: str, where: str) -> ApiKey:
    """Read one entry; what is wrong is told without showing it, as it may be the key."""
    parts = entry.split(":")
    if len(parts) != 3:
        raise ValueError(f"{where} is not of the form name:scope+scope:key")
    name, scopes, key = parts
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{where}: a name has up to 63 of a-z, 0-9, '.', '_' and '-', no mark first"
        )
    asked = tuple(scopes.split("+"))
    if not set(asked) <= set(SCOPES) or len(set(asked)) < len(asked):
        raise ValueError(f"{where}: scopes are {', '.join(SCOPES)}, each once, with + between")
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"{where}: a key has 16 to 256 letters, digits or ._~+/=-; "
            "`openssl rand -hex 24` makes one"
        )
    return ApiKey(name, asked, hashlib.sha256(key.encode()).hexdigest())
