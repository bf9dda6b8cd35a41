"""The generator makes what it says, for every rpc of the contract."""

import protovalidate
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from gateway import contract
from tests.fuzz import messages

METHODS = contract.methods()
# Most kinds are broken in the first hundred messages; the last one takes its time.
BATCHES = 15
QUICK = settings(
    max_examples=15, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_valid_messages_keep_every_rule(method: MethodDescriptor) -> None:
    @QUICK
    @given(messages.valid(method.input_type, {"model_id": [1]}))
    def check(message: Message) -> None:
        assert not messages.broken_rules(message)
        assert type(message).FromString(message.SerializeToString()) is not None

    check()


def test_wild_messages_break_every_kind_of_rule() -> None:
    rich = [m for m in METHODS if len(m.input_type.fields) > 5]
    wild = st.sampled_from(rich).flatmap(lambda m: messages.wild(m.input_type, {}))
    kinds = {"string.pattern", "string.max_len", "string.max_bytes", "string.in", "required"}
    kinds |= {"int32.gt", "int32.gte_lte", "float.gte_lte", "enum.defined_only"}
    broken: set[str] = set()
    for number in range(BATCHES):
        if not kinds <= broken:
            _collect(wild, number, broken)
    assert kinds - broken == set()


def _collect(wild: SearchStrategy[Message], number: int, broken: set[str]) -> None:
    """Note the rules that a hundred messages break."""

    @seed(number)
    @settings(QUICK, derandomize=False, phases=[Phase.generate], max_examples=100)
    @given(wild)
    def collect(message: Message) -> None:
        broken.update(v.proto.rule_id for v in protovalidate.collect_violations(message))

    collect()
