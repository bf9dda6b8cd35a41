"""Whatever comes over gRPC gets an answer that says what is wrong, and the hub goes on."""

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import messages, verdict
from tests.fuzz.calls import METHODS, again, ask, fuzzed
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
    def send(request: Message) -> None:
        answer = ask(target.channel, method, request)
        for fault in verdict.faults(method, answer, str(request)):
            found.setdefault(fault, verdict.report("gRPC", method, request, [fault, str(answer)]))

    send()
    assert not found, "\n\n".join(found.values()) + f"\n{again()}"
