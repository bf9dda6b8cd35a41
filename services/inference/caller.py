"""Who asks, and for how long they wait."""

import re
from dataclasses import dataclass

from services.chassis.errors import Invalid
from services.chassis.requests import Context, caller_waits, metadata_of

HEADER = "x-mlx-hub-caller"
_NAME = re.compile(r"[!-~]{1,100}")
# So much before a caller's deadline the answer is given up. At the deadline itself gRPC ends the
# call: a stream over HTTP/1.1 would just stop, without the frame that says why.
ANSWER_S = 0.05


@dataclass(frozen=True)
class Caller:
    """Whom rows are shared between; all who give no name are one caller."""

    name: str = ""
    patience: float | None = None
    """Seconds until nobody waits for the answer; None is for ever."""


def caller_of(context: Context, user: str = "") -> Caller:
    """Read the caller's name off its header, else off OpenAI's `user`; raises Invalid."""
    name = metadata_of(context, HEADER)
    if name and not _NAME.fullmatch(name):
        raise Invalid(
            "INVALID_FIELD",
            f"the {HEADER} header may have 100 printable ASCII characters and no space",
            field=HEADER,
        )
    left = caller_waits(context)
    return Caller(name or user, None if left is None else max(left - ANSWER_S, left / 2))
