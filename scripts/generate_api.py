"""Write docs/api.md from the contract: every rpc, its REST form and its fields."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("registry", "trainer", "inference", "system", "openai", "error")


def image() -> list[descriptor_pb2.FileDescriptorProto]:
    """Compile the contract with its comments."""
    built = subprocess.run(
        ["buf", "build", "--as-file-descriptor-set", "-o", "-"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    files = descriptor_pb2.FileDescriptorSet.FromString(built).file
    wanted = tuple(f"mlx_hub.{package}.v1" for package in PACKAGES)
    found = [f for f in files if f.package in wanted]
    return sorted(
        found, key=lambda f: (wanted.index(f.package), not f.name.endswith("_service.proto"))
    )


class Comments:
    """Leading comments of one file by path."""

    def __init__(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        """Index the file's source info."""
        self._by_path = {
            tuple(location.path): location.leading_comments
            for location in file.source_code_info.location
        }

    def at(self, *path: int) -> str:
        """Give the comment at a descriptor path as one line."""
        return " ".join(self._by_path.get(path, "").split())


def cell(text: str) -> str:
    """Make text safe inside a Markdown table."""
    return text.replace("|", "\\|")


def type_of(field: descriptor_pb2.FieldDescriptorProto) -> str:
    """Name a field's type as a reader would."""
    name = field.type_name.removeprefix(".").removeprefix("mlx_hub.") or (
        descriptor_pb2.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    )
    if name.endswith("Entry"):
        return "map"
    return f"repeated {name}" if field.label == field.LABEL_REPEATED else name


def service_lines(file: descriptor_pb2.FileDescriptorProto, comments: Comments) -> list[str]:
    """Render the services of a file."""
    lines = []
    for s, service in enumerate(file.service):
        lines += [f"## {file.package}.{service.name}", "", comments.at(6, s), ""]
        lines += ["| rpc | REST | what |", "|---|---|---|"]
        for m, method in enumerate(service.method):
            options: Any = method.options
            rule = options.Extensions[annotations_pb2.http]
            verb = rule.WhichOneof("pattern")
            rest = f"`{verb.upper()} {getattr(rule, verb)}`" if verb else "gRPC only"
            stream = " (stream)" if method.server_streaming else ""
            text = cell(comments.at(6, s, 2, m))
            lines.append(f"| {method.name}{stream} | {rest} | {text} |")
        lines.append("")
    return lines


def message_lines(file: descriptor_pb2.FileDescriptorProto, comments: Comments) -> list[str]:
    """Render the messages and enums of a file."""
    lines = []
    for m, message in enumerate(file.message_type):
        lines += [f"### {message.name}", "", comments.at(4, m), ""]
        if message.field:
            lines += ["| field | type | what |", "|---|---|---|"]
        lines += [
            f"| {field.name} | {type_of(field)} | {cell(comments.at(4, m, 2, f))} |"
            for f, field in enumerate(message.field)
        ]
        lines.append("")
    for e, enum in enumerate(file.enum_type):
        lines += [f"### {enum.name}", "", comments.at(5, e), "", "| value | what |", "|---|---|"]
        lines += [
            f"| {value.name} | {cell(comments.at(5, e, 2, v))} |"
            for v, value in enumerate(enum.value)
        ]
        lines.append("")
    return lines


def main() -> int:
    """Write the page to the file named on the command line."""
    lines = ["# API", "", "Made by `make proto` from proto/; do not edit.", ""]
    for file in image():
        comments = Comments(file)
        lines += service_lines(file, comments) + message_lines(file, comments)
    text = "\n".join(lines)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    Path(sys.argv[1]).write_text(text.rstrip() + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
