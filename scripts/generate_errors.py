"""Write docs/errors.md from the comments of ErrorReason: what each means and what to do."""

import re
import sys
from pathlib import Path

from gateway.openapi.failures import STATUSES
from scripts.generate_api import Comments, cell, image

HEAD = """# Errors

Made by `make proto` from proto/mlx_hub/error/v1; do not edit.

Every error has a code, a message for people, and one reason for programs: over REST in the body,
`{"code", "message", "details": [{"reason", "domain": "mlx-hub", "metadata", …}, …]}`, over gRPC
as `google.rpc.ErrorInfo` in the rich status, in Python as `error.reason` and `error.metadata`. A
reason keeps its name and meaning. The metadata hold the values that the message speaks of, as text.
Where waiting helps, `RetryInfo` and `Retry-After` say how long; where fields are wrong,
`BadRequest` names them.

| reason | code | meaning | what to do | metadata |
|---|---|---|---|---|"""
SHAPE = re.compile(
    r"(?P<code>[A-Z_]+)\. (?P<meaning>.+?) To do: (?P<todo>.+?\.)(?: Metadata: (?P<metadata>.+)\.)?"
)


def row(name: str, comment: str) -> str:
    """Render one reason; its comment must say what to do."""
    match = SHAPE.fullmatch(comment)
    if match is None:
        raise SystemExit(f"{name}: say `CODE. Meaning. To do: … . Metadata: … .` in its comment")
    reason = name.removeprefix("ERROR_REASON_")
    code = f"{match['code']}, {STATUSES[match['code']]}"
    todo = match["todo"][0].upper() + match["todo"][1:]
    cells = (f"`{reason}`", code, match["meaning"], todo, match["metadata"] or "")
    return f"| {' | '.join(cell(text) for text in cells)} |"


def main() -> int:
    """Write the page to the file named on the command line."""
    [file] = [f for f in image() if f.package == "mlx_hub.error.v1"]
    comments = Comments(file)
    values = enumerate(file.enum_type[0].value)
    rows = [row(value.name, comments.at(5, 0, 2, n)) for n, value in values if value.number]
    Path(sys.argv[1]).write_text("\n".join((HEAD, *sorted(rows))) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
