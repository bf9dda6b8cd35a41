"""Every bound of a request, at it and beyond: refused by name before a token is made."""

from typing import Any

import pytest
from mlx_hub.inference.v1 import generation_pb2 as pb

from services.chassis.errors import Invalid
from services.chassis.interceptors.validation import validate
from services.inference.messages import generation_of

MEGABYTE = 1_000_000


def turns(*sizes: int) -> list[pb.ChatMessage]:
    return [pb.ChatMessage(role="user", content="x" * size) for size in sizes]


def bias(tokens: int) -> dict[int, float]:
    return dict.fromkeys(range(tokens), 1.0)


@pytest.mark.parametrize(
    ("within", "beyond", "field"),
    [
        ({"prompt": "x" * MEGABYTE}, {"prompt": "x" * (MEGABYTE + 1)}, "prompt"),
        ({"prompt": "é" * 500_000}, {"prompt": "é" * 500_001}, "prompt"),
        ({"messages": turns(MEGABYTE)}, {"messages": turns(MEGABYTE + 1)}, "messages[0].content"),
        ({"messages": turns(400_000, 600_000)}, {"messages": turns(400_000, 600_001)}, "messages"),
        ({"messages": turns(*[1] * 1000)}, {"messages": turns(*[1] * 1001)}, "messages"),
        ({"max_tokens": 32_768}, {"max_tokens": 32_769}, "max_tokens"),
        ({"max_tokens": 1}, {"max_tokens": 0}, "max_tokens"),
        ({"stop": ["x" * 100] * 8}, {"stop": ["x"] * 9}, "stop"),
        ({"stop": ["é" * 100]}, {"stop": ["é" * 101]}, "stop[0]"),
        ({"stop": ["x"]}, {"stop": [""]}, "stop[0]"),
        ({"logit_bias": bias(300)}, {"logit_bias": bias(301)}, "logit_bias"),
        (
            {"logprobs": True, "top_logprobs": 20, "max_tokens": 3120},
            {"logprobs": True, "top_logprobs": 20, "max_tokens": 3121},
            "top_logprobs",
        ),
        (
            {"logprobs": True, "max_tokens": 32_768},
            {"logprobs": True, "top_logprobs": 21},
            "top_logprobs",
        ),
    ],
)
def test_a_request_at_its_bound_passes_and_beyond_is_refused_by_name(
    within: dict[str, Any], beyond: dict[str, Any], field: str
) -> None:
    admit(within)
    with pytest.raises(Invalid) as caught:
        admit(beyond)
    assert [v.field for v in caught.value.violations] == [field]


def admit(fields: dict[str, Any]) -> None:
    """Do what happens to a request before it may stand in line."""
    text = {} if "messages" in fields else {"prompt": "x"}
    request = pb.GenerateRequest(**{"model_id": 7, **text, **fields})
    validate(request)
    generation_of(request).check_size()
