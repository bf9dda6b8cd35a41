"""Calls any rpc with a message, and the settings of the fuzzer's runs."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, seed, settings

from gateway import contract
from tests.fuzz.verdict import Verdict, of_rpc_error

CASES = int(os.environ.get("MLX_HUB_FUZZ_CASES", "2000"))
SEED = int(os.environ.get("MLX_HUB_FUZZ_SEED", "1"))
METHODS = contract.methods()
DEADLINE_S, PATIENT_S, FRAMES = 15.0, 1.5, 3


def fuzzed(share: float) -> Callable[[Any], Any]:
    """Run a test's examples: a share of all cases, spread over the rpcs, by the chosen seed.

    A stack remembers what came before, so a case is neither shrunk nor kept: the message of a
    failure says the request, and the same seed sends the same requests again.
    """
    number = max(2, round(CASES * share / len(METHODS)))
    chosen = settings(
        max_examples=number,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: chosen(seed(SEED)(test))


def again() -> str:
    """Say how to send the same requests again."""
    return f"MLX_HUB_FUZZ_CASES={CASES} MLX_HUB_FUZZ_SEED={SEED}"


def send(channel: grpc.Channel, method: MethodDescriptor, wire: bytes, deadline: float) -> Verdict:
    """Call an rpc with bytes as they are and tell how it ended; a stream ends after some frames."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    read = GetMessageClass(method.output_type).FromString
    try:
        if method.server_streaming:
            _some(channel.unary_stream(path, bytes, read)(wire, timeout=deadline))
        elif method.client_streaming:
            channel.stream_unary(path, bytes, read)(iter([wire]), timeout=deadline)
        else:
            channel.unary_unary(path, bytes, read)(wire, timeout=deadline)
    except grpc.RpcError as error:
        return of_rpc_error(error)
    return Verdict("OK")


def ask(channel: grpc.Channel, method: MethodDescriptor, request: Message) -> Verdict:
    """Call an rpc with a message, for as long as it may honestly take."""
    patient = method.server_streaming or method.name in {"Generate", "GetDatasetReport"}
    return send(channel, method, request.SerializeToString(), PATIENT_S if patient else DEADLINE_S)


def _some(frames: Any) -> None:
    try:
        for number, _ in enumerate(_iterate(frames), 1):
            if number == FRAMES:
                return
    finally:
        frames.cancel()


def _iterate(frames: Any) -> Iterator[Message]:
    yield from frames
