"""Where a page of a list begins, and the token of the next."""

from collections.abc import Mapping

from services.chassis.paging import decode_token, encode_token
from services.registry.domain import Page


def cursor(page_token: str, key: Mapping[str, str], *, first: int) -> int:
    """Give the sort key that a page continues after."""
    decoded = decode_token(page_token, key, [int])
    return int(decoded[0]) if decoded else first


def next_token[T](page: Page[T], key: Mapping[str, str], attribute: str) -> str:
    """Give the next page's token, or nothing on the last page."""
    return encode_token([getattr(page.items[-1], attribute)], key) if page.more else ""
