"""Whatever comes over gRPC gets an answer that says what is wrong, and the hub goes on."""

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import messages, verdict
from tests.fuzz.aftermath import unharmed
from tests.fuzz.calls import METHODS, PATIENT_S, again, ask, fuzzed, send
from tests.fuzz.conftest import Target

# Deleting comes last, so that there is something to ask for until then.
ORDER = sorted(METHODS, key=lambda m: m.name.startswith(("Delete", "Clear", "Archive", "Unload")))


@pytest.mark.parametrize("method", ORDER, ids=lambda m: m.name)
def test_every_answer_is_one_of_ours(method: MethodDescriptor, target: Target) -> None:
    found: dict[str, str] = {}

    @fuzzed(0.6)
    @given(
        st.one_of(
            messages.valid(method.input_type, target.pool),
            messages.wild(method.input_type, target.pool),
        )
    )
    def sent(request: Message) -> None:
        answer = ask(target.channel, method, request)
        for fault in verdict.faults(method, answer, str(request)):
            found.setdefault(fault, verdict.report("gRPC", method, request, [fault, str(answer)]))

    sent()
    assert not found, "\n\n".join(found.values()) + f"\n{again()}"


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_bytes_that_are_no_message_are_refused(method: MethodDescriptor, target: Target) -> None:
    for wire in (b"\xff\xff", b"\xf8\x07\x01", b"\x0a\x03\xed\xa0\x80\xff", b"\x00" * 9):
        answer = send(target.channel, method, wire, PATIENT_S)
        told = verdict.report("gRPC", method, wire, [str(answer)])
        assert answer.code == "INVALID_ARGUMENT", told
        assert not verdict.faults(method, answer, str(wire)), told


def test_the_hub_goes_on(target: Target) -> None:
    unharmed(target)
