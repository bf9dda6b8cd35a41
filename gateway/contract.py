"""What the gateway has to know of the contract, read from the descriptors and never by hand."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import (
    Descriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions
from google.rpc import error_details_pb2
from mlx_hub.inference.v1 import inference_service_pb2
from mlx_hub.openai.v1 import openai_service_pb2
from mlx_hub.registry.v1 import (
    dataset_service_pb2,
    download_service_pb2,
    export_service_pb2,
    provenance_service_pb2,
    quality_service_pb2,
    registry_service_pb2,
    storage_service_pb2,
    training_record_service_pb2,
)
from mlx_hub.system.v1 import system_service_pb2
from mlx_hub.trainer.v1 import trainer_service_pb2

PUBLIC: tuple[FileDescriptor, ...] = (
    registry_service_pb2.DESCRIPTOR,
    dataset_service_pb2.DESCRIPTOR,
    download_service_pb2.DESCRIPTOR,
    export_service_pb2.DESCRIPTOR,
    quality_service_pb2.DESCRIPTOR,
    training_record_service_pb2.DESCRIPTOR,
    provenance_service_pb2.DESCRIPTOR,
    storage_service_pb2.DESCRIPTOR,
    trainer_service_pb2.DESCRIPTOR,
    inference_service_pb2.DESCRIPTOR,
    openai_service_pb2.DESCRIPTOR,
    system_service_pb2.DESCRIPTOR,
)
HTTP_BODY = "google.api.HttpBody"


@dataclass(frozen=True)
class RestRule:
    """How one rpc is reached over REST."""

    rpc: MethodDescriptor
    verb: str
    path: str
    body: str

    @property
    def body_message(self) -> Descriptor | None:
        """Give the message that the JSON body holds; None without a JSON body."""
        if not self.body:
            return None
        request = self.rpc.input_type
        message = request if self.body == "*" else request.fields_by_name[self.body].message_type
        return None if message is None or message.full_name == HTTP_BODY else message

    @property
    def raw_body(self) -> bool:
        """Tell whether the body is the rpc's own business, passed on as it is."""
        return bool(self.body) and self.body_message is None


def services() -> tuple[ServiceDescriptor, ...]:
    """List the public services."""
    return tuple(service for file in PUBLIC for service in file.services_by_name.values())


def methods() -> tuple[MethodDescriptor, ...]:
    """List every rpc of the public services."""
    return tuple(method for service in services() for method in service.methods)


def is_safe_read(method: MethodDescriptor) -> bool:
    """Tell whether the contract declares a unary rpc free of side effects."""
    level: int = method.GetOptions().idempotency_level
    return level == MethodOptions.NO_SIDE_EFFECTS and not method.server_streaming


def rest_rules() -> tuple[RestRule, ...]:
    """List every REST mapping, additional bindings included."""
    return tuple(rule for method in methods() for rule in _rules(method))


def _rules(method: MethodDescriptor) -> Iterator[RestRule]:
    options = method.GetOptions()
    http: Any = annotations_pb2.http
    if not options.HasExtension(http):
        return
    first: http_pb2.HttpRule = options.Extensions[http]
    for rule in (first, *first.additional_bindings):
        verb = rule.WhichOneof("pattern")
        yield RestRule(method, verb.upper(), getattr(rule, verb), rule.body)


def path_variables(path: str) -> list[str]:
    """List the fields that a path template binds."""
    return re.findall(r"{([a-z_.]+)}", path)


def descriptor_set() -> FileDescriptorSet:
    """Collect every file that the transcoder needs, dependencies first.

    The error details are there because they travel in `google.protobuf.Any`.
    """
    files: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        if file.name not in files:
            for dependency in file.dependencies:
                add(dependency)
            files[file.name] = file

    for file in (*PUBLIC, error_details_pb2.DESCRIPTOR):
        add(file)
    found = FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(found.file.add())
    return found
