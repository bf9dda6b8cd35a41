"""The constraints that stand on the contract's fields, enforced before any of our code runs."""

from typing import Any

import protovalidate
from google.protobuf.message import Message

from services.chassis.errors import Invalid, Violation
from services.chassis.interceptors import wire
from services.chassis.interceptors.around import AroundInterceptor, Deserialize
from services.chassis.requests import Context


class Validation(AroundInterceptor):
    """Refuses a message that breaks a constraint and names every field that does."""

    def __init__(self, *, stored: bool = False) -> None:
        """Tell whether the texts of requests go to a database."""
        self._stored = stored

    def accept(self, method: str, request: Any, context: Context) -> None:
        """Raise Invalid before the servicer sees the request."""
        validate(request, stored=self._stored)

    def reader(self, deserialize: Deserialize) -> Deserialize:
        """Let what is no message through to `accept`, which refuses it by name."""
        return wire.lenient(deserialize)


def validate(message: Message | None, *, stored: bool = False) -> None:
    """Raise Invalid with one violation per broken constraint."""
    found = tuple(wire.violations(message))
    if message is not None:
        found += tuple(wire.nul_violations(message)) if stored else ()
        found += tuple(
            Violation(_path(v.proto) or "request", v.proto.message or v.proto.rule_id)
            for v in protovalidate.collect_violations(message)
        )
    if found:
        text = "; ".join(
            v.description if v.field == "request" else f"{v.field}: {v.description}"
            for v in found[:3]
        )
        raise Invalid(
            "INVALID_FIELD", text, metadata={"field": found[0].field}, violations=found[:20]
        )


def _path(violation: Any) -> str:
    """Write a violation's field path as `messages[0].role` or `tags["key"]`."""
    text = ""
    for element in violation.field.elements if violation.field else ():
        text += f".{element.field_name}" if text else str(element.field_name)
        if element.subscript is not None:
            key = element.subscript.value
            text += f"[{key}]" if isinstance(key, int) else f'["{key}"]'
    return text
