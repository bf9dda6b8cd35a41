"""Cursor pages: a token holds the last sort key and a hash of the filter it belongs to."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence

from services.chassis.errors import Invalid

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


def page_size(requested: int) -> int:
    """Give the page size to use: 0 is the default, large values are capped."""
    return min(requested, MAX_PAGE_SIZE) if requested else DEFAULT_PAGE_SIZE


def encode_token(key: Sequence[int | str], filters: Mapping[str, str]) -> str:
    """Make the opaque token that continues after the row with this sort key."""
    body = json.dumps([list(key), _digest(filters)], separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def decode_token(
    token: str, filters: Mapping[str, str], shape: Sequence[type[int] | type[str]]
) -> list[int | str] | None:
    """Give the sort key to continue after, or None for the first page.

    Raises Invalid when the token was not made by this list with these filters.
    """
    if not token:
        return None
    try:
        padded = token + "=" * (-len(token) % 4)
        key, digest = json.loads(base64.urlsafe_b64decode(padded))
        good = digest == _digest(filters) and [type(part) for part in key] == list(shape)
        good = good and all(abs(part) < 2**31 for part in key if isinstance(part, int))
    except (ValueError, TypeError, binascii.Error):
        good, key = False, []
    if not good:
        raise Invalid(
            "INVALID_PAGE_TOKEN",
            "page_token was not made by this list with these filters; start without one",
            field="page_token",
        )
    return list(key)


def _digest(filters: Mapping[str, str]) -> str:
    text = json.dumps(sorted(filters.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
