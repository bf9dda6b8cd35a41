"""Write gateway/openapi.json from the contract and its comments."""

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2

from gateway.openapi.document import document
from scripts.generate_api import ROOT, Comments, image


def comments() -> dict[str, str]:
    """Give the leading comment of everything in the contract by its full name."""
    return {name: text for file in image() for name, text in _named(file) if text}


def _named(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    said, package = Comments(file), file.package
    for s, service in enumerate(file.service):
        yield f"{package}.{service.name}", said.at(6, s)
        for m, method in enumerate(service.method):
            yield f"{package}.{service.name}.{method.name}", said.at(6, s, 2, m)
    for m, message in enumerate(file.message_type):
        yield f"{package}.{message.name}", said.at(4, m)
        for f, field in enumerate(message.field):
            yield f"{package}.{message.name}.{field.name}", said.at(4, m, 2, f)
    for e, enum in enumerate(file.enum_type):
        yield f"{package}.{enum.name}", said.at(5, e)
        for v, value in enumerate(enum.value):  # a value's full name is beside its enum's
            yield f"{package}.{value.name}", said.at(5, e, 2, v)


def main() -> int:
    """Write the document to the file named on the command line."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    text = json.dumps(document(version, comments()), indent=1, ensure_ascii=False)
    Path(sys.argv[1]).write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
