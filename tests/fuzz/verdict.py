"""What an answer says, by whatever door it came, and what every answer must keep."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2
from mlx_hub.error.v1 import error_reason_pb2

from tests.fuzz.leaks import leaks

_VALUES = error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
REASONS = {name.removeprefix("ERROR_REASON_") for name in _VALUES}
API = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
FAULTS = {"UNKNOWN", "INTERNAL", "UNIMPLEMENTED", "UNAUTHENTICATED", "CANCELLED", "DATA_LOSS"}
# As Envoy's transcoder words what it can't turn into a message.
UNREADABLE = re.compile(
    r": invalid value .* for type |^Could not find field |is conflicting with|\n\^$", re.DOTALL
)
# Work that may honestly take longer than a fuzzer waits.
PATIENT = {"Generate", "StreamGenerate", "LoadModel", "CreateChatCompletion", "GetDatasetReport"}


@dataclass(frozen=True)
class Verdict:
    """How a call ended."""

    code: str
    message: str = ""
    reasons: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    text: str = ""
    by_rest: bool = False

    @property
    def at_the_door(self) -> bool:
        """Tell whether Envoy refused a request that it could not read; it knows one fault of it."""
        return (
            self.code == "INVALID_ARGUMENT"
            and self.by_rest
            and (not self.reasons or UNREADABLE.search(self.message) is not None)
        )

    def same(self, other: "Verdict") -> bool:
        """Tell whether another door said the same, as far as this one has words for it."""
        if self.code.startswith("HTTP"):
            return True
        if self.at_the_door:
            return other.code == self.code and any(f in self.message for f in other.fields)
        return self.essence == other.essence

    @property
    def essence(self) -> tuple[object, ...]:
        """Give what must be the same by every door."""
        return self.code, self.reasons, sorted(set(self.fields))


def of_rpc_error(error: grpc.RpcError) -> Verdict:
    """Read a gRPC failure."""
    call: Any = error
    raw = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    status = status_pb2.Status.FromString(raw)
    reasons, fields, shown = [], [], []
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reasons.append(info.reason)
            shown.append(str(dict(info.metadata)))
        if detail.Unpack(bad):
            fields += [v.field for v in bad.field_violations]
            shown += [v.description for v in bad.field_violations]
    text = "\n".join([call.details() or "", *shown])
    return Verdict(call.code().name, call.details() or "", tuple(reasons), tuple(fields), text)


def of_body(status: int, body: str) -> Verdict:
    """Read a REST answer; a body that is no error of ours raises ValueError."""
    if status < 400:
        return Verdict("OK")
    found = json.loads(body)
    if "error" in found:  # OpenAI's shape, which has no place for the rest
        return Verdict(f"HTTP {status}", text=body)
    code = next(c.name for c in grpc.StatusCode if c.value[0] == found["code"])
    details = found["details"]
    reasons = tuple(d["reason"] for d in details if d["@type"].endswith("ErrorInfo"))
    bad = [d for d in details if d["@type"].endswith("BadRequest")]
    fields = tuple(v["field"] for d in bad for v in d["field_violations"])
    return Verdict(
        code, found["message"], reasons, fields, json.dumps(found, ensure_ascii=False), True
    )


def faults(method: MethodDescriptor, verdict: Verdict, sent: str) -> list[str]:
    """Name what is wrong with an answer; nothing is what every answer must give."""
    code = verdict.code
    if code == "OK":
        return []
    found = leaks(verdict.text, sent)
    if code.startswith("HTTP"):
        return found if code < "HTTP 500" else [*found, f"{code} is a fault of ours"]
    if verdict.at_the_door:
        return found
    if code in FAULTS:
        found.append(f"{code} is a fault of ours")
    if code == "DEADLINE_EXCEEDED":
        patient = method.name in PATIENT or method.server_streaming
        return found if patient else [*found, "hangs"]
    if len(verdict.reasons) != 1 or not set(verdict.reasons) <= REASONS:
        found.append(f"one ErrorInfo with a known reason, not {verdict.reasons}")
    if code == "UNAVAILABLE" and not set(verdict.reasons) <= documented(method):
        found.append(f"UNAVAILABLE with a reason that {method.name} does not document")
    if verdict.reasons == ("INVALID_FIELD",) and not any(verdict.fields):
        found.append("INVALID_FIELD without a field")
    return found


def documented(method: MethodDescriptor) -> set[str]:
    """Give the reasons that docs/api.md names for an rpc, Generate's where it refers to it."""
    row = re.search(rf"^\| {method.name} \|.*$", API, re.MULTILINE)
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", row.group() if row else "")) & REASONS
    as_generate = row is not None and "Generate does" in row.group()
    return named | (_generate() if as_generate else set())


def _generate() -> set[str]:
    row = re.search(r"^\| Generate \|.*$", API, re.MULTILINE)
    return set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", row.group() if row else ""))


def report(kind: str, method: MethodDescriptor, sent: object, found: Iterable[str]) -> str:
    """Say what is wrong so that it can be done again."""
    shown = str(sent)
    return f"{kind} {method.full_name}\n{shown[:2000]}\n" + "\n".join(found)
