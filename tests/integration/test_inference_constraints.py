"""Answers held to a grammar, in one batch with others: valid, complete, and no neighbour harmed."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import tools_pb2

from services.chassis.errors import Invalid
from services.inference.engine.events import Ended, Failed, Job, Token
from services.inference.engine.tools import ToolFormat
from tests.fixtures.tiny_model import EOS, VOCABULARY
from tests.integration.test_inference_batch import Bench

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "zone": {"enum": ["north", "south"]},
            "count": {"type": "integer", "minimum": 0, "maximum": 99},
            "ok": {"type": "boolean"},
        },
        "required": ["zone", "count", "ok"],
        "additionalProperties": False,
    }
)
NEIGHBOURS = {1: "good one", 3: "another good one, a bit longer than that"}


class Held(Bench):
    """A batch whose rows may be held to something."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from services.inference.engine.grammar import Outputs  # noqa: PLC0415

        self.outputs = Outputs(folder / "tokenizer.json", {EOS}, None)

    def hold(self, request: int, **fields: Any) -> Any:
        generate = pb.GenerateRequest(**{"max_tokens": 200, **fields})
        matcher = self.outputs.matcher_of(generate)
        tokens = self.tokenizer.encode("tell me", add_special_tokens=False)
        self.batch.add(Job(request, generate, tokens, time.monotonic(), matcher=matcher))
        return matcher

    def answer(self, request: int) -> tuple[str, completion_pb.FinishReason.ValueType]:
        """Give what a request's tokens say, and how it ended."""
        told = [o for o in self.outcomes if isinstance(o, Token) and o.request == request]
        ended = [o.reason for o in self.outcomes if isinstance(o, Ended) and o.request == request]
        return self.tokenizer.decode([t.token for t in told if t.visible]), ended[0]

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))


@pytest.fixture(scope="module")
def held(tiny_model: Path) -> Held:
    return Held(tiny_model)


@pytest.fixture(autouse=True)
def cleared(held: Held) -> None:
    held.outcomes.clear()


def test_answers_fit_and_end_by_themselves_and_neighbours_answer_as_they_do_alone(
    held: Held,
) -> None:
    good = {n: held.alone(text) for n, text in NEIGHBOURS.items()}
    held.add(1, NEIGHBOURS[1])
    held.hold(2, response_schema=SCHEMA)
    held.hold(4, regex="[A-F]{3}-[0-9]{2}")
    held.add(3, NEIGHBOURS[3])
    held.hold(5, choice=tools_pb2.Choice(options=["y. (es)", "n\\o\n", "né|"]))
    tokens = held.finish()
    assert {n: tokens[n] for n in good} == good
    answers = {n: held.answer(n) for n in (2, 4, 5)}
    assert {reason for _, reason in answers.values()} == {completion_pb.FINISH_REASON_STOP}
    found = json.loads(answers[2][0])
    assert list(found) == ["zone", "count", "ok"]
    assert found["zone"] in ("north", "south") and 0 <= found["count"] <= 99
    assert re.fullmatch("[A-F]{3}-[0-9]{2}", answers[4][0])
    assert answers[5][0] in ("y. (es)", "n\\o\n", "né|")
    assert held.hold(6, choice=tools_pb2.Choice(options=["a"])) and not held.failures()
    held.batch.cancel(6)


def test_it_goes_together_with_everything_that_changes_logits(held: Held) -> None:
    wild: dict[str, Any] = {
        "response_schema": SCHEMA,
        "temperature": 1.8,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.01,
        "repetition_penalty": 1.9,
        "presence_penalty": 2,
        "frequency_penalty": -2,
        # What the grammar forbids can't be favoured, and what it needs can't be forbidden.
        "logit_bias": {VOCABULARY.index("x"): 100, VOCABULARY.index("{"): -100},
        "logprobs": True,
        "top_logprobs": 20,
    }
    held.hold(1, seed=7, **wild)
    alone = held.finish()[1]
    held.outcomes.clear()
    for number, seed in enumerate((7, 8, 9), 1):
        held.hold(number, seed=seed, **wild)
    assert held.finish()[1] == alone
    answers = [held.answer(number) for number in (1, 2, 3)]
    assert all(set(json.loads(text)) == {"zone", "count", "ok"} for text, _ in answers)
    assert len({text for text, _ in answers}) > 1
    told = [o.likelihood for o in held.outcomes if isinstance(o, Token) and o.visible]
    assert all(likelihood for likelihood in told)
    values = [v for each in told if each for v in (each.logprob, *(v for _, v in each.top))]
    assert all(-1000 < value <= 1e-5 for value in values)
    assert told[0] and len(told[0].top) == 1, "only one token can begin"


def test_an_answer_that_is_cut_off_says_so(held: Held) -> None:
    held.hold(1, response_schema=SCHEMA, max_tokens=5)
    held.finish()
    assert held.answer(1) == ('{"zon', completion_pb.FINISH_REASON_LENGTH)


def test_a_grammar_that_breaks_fails_its_request_alone_and_by_name(held: Held) -> None:
    good = held.alone("good one")
    matcher = held.hold(2, regex="[a-z]{50}")
    held.add(1, "good one")
    for _ in range(3):
        held.batch.step()
    matcher.consume_token(VOCABULARY.index("9"))
    assert held.finish()[1] == good
    [failed] = [o for o in held.outcomes if isinstance(o, Failed)]
    assert (failed.request, failed.error.reason) == (2, "CONSTRAINT_REFUSED")
    assert failed.error.metadata == {"field": "regex"}


def test_text_that_spells_the_end_of_a_text_never_passes_for_one(held: Held) -> None:
    held.hold(1, choice=tools_pb2.Choice(options=["a<|im_end|>b"]))
    held.finish()
    [failed] = [o for o in held.outcomes if isinstance(o, Failed)]
    assert (failed.error.reason, failed.error.metadata) == (
        "CONSTRAINT_REFUSED",
        {"field": "choice"},
    )


@pytest.mark.parametrize("width", [len(VOCABULARY) - 3, len(VOCABULARY) + 61])
def test_a_vocabulary_of_another_width_is_masked_to_the_last_token(held: Held, width: int) -> None:
    import mlx.core as mx  # noqa: PLC0415

    from services.inference.engine.grammar import held_to  # noqa: PLC0415

    request = pb.GenerateRequest(regex="ab")
    matcher = held.outputs.matcher_of(request)
    assert matcher
    process = held_to(matcher, request, prompt_tokens=2)
    answer = [9, 9]
    for expected in (*held.ids("ab"), EOS, EOS):
        logits: Any = process(mx.array(answer), mx.zeros((1, width)))
        assert logits.shape == (1, width)
        assert [n for n, v in enumerate(logits[0].tolist()) if v == 0] == [expected]
        answer.append(expected)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"response_schema": '{"not": {"type": "string"}}'}, "not"),
        ({"response_schema": '{"type": "array", "uniqueItems": true}'}, "uniqueItems"),
        ({"response_schema": '{"x-guidance": {"lenient": true}, "not": {}}'}, "not"),
        ({"response_schema": '{"$ref": "https://example.com/schema"}'}, "example.com"),
        ({"response_schema": '{"$ref": "file:///etc/hostname"}'}, "fetch"),
        ({"response_schema": '{"type": "integer", "minimum": 5, "maximum": 2}'}, "minimum"),
        ({"response_schema": '{"type": "string", "pattern": "(?=a)"}'}, "look-around"),
        ({"regex": "(a"}, "unclosed"),
        ({"regex": r"(a)\1"}, "backreferences"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_grammars_own_words(
    held: Held, fields: dict[str, str], why: str
) -> None:
    with pytest.raises(Invalid, match=why) as caught:
        held.outputs.matcher_of(pb.GenerateRequest(**fields))  # type: ignore[arg-type]
    assert caught.value.reason == "CONSTRAINT_REFUSED"
    assert caught.value.metadata == {"field": next(iter(fields))}


def test_what_is_too_large_to_compile_is_refused(held: Held) -> None:
    options = [{"anyOf": [{"required": [f"p{i}{j}"]} for i in range(10)]} for j in range(6)]
    with pytest.raises(Invalid, match="too large"):
        held.outputs.matcher_of(pb.GenerateRequest(response_schema=json.dumps({"allOf": options})))


def test_a_model_without_an_end_cannot_be_held(held: Held, tiny_model: Path) -> None:
    from services.inference.engine.grammar import Outputs  # noqa: PLC0415

    outputs = Outputs(tiny_model / "tokenizer.json", set(), None)
    with pytest.raises(Invalid, match="no token that ends a text"):
        outputs.matcher_of(pb.GenerateRequest(regex="a"))


def test_a_schema_that_takes_too_long_to_compile_is_refused_and_the_next_is_not(
    held: Held, tiny_tools: Path
) -> None:
    patterns = [{"type": "string", "pattern": f"x{n}"} for n in range(24)]
    endless = json.dumps({"allOf": patterns})
    with pytest.raises(Invalid, match="response_schema can't be followed: it takes too long to c"):
        held.hold(1, response_schema=endless)
    from services.inference.engine.grammar import Outputs  # noqa: PLC0415

    form = ToolFormat(
        "json_tools", "<tool_call>", "</tool_call>", frozenset(), lambda text, _: text
    )
    outputs = Outputs(tiny_tools / "tokenizer.json", {EOS}, form)
    tool = tools_pb2.Tool(name="f", parameters=endless, strict=True)
    for choice in (tools_pb2.TOOL_CHOICE_REQUIRED, tools_pb2.TOOL_CHOICE_AUTO):
        with pytest.raises(Invalid, match="tools can't be followed: it takes too long to compile"):
            outputs.matcher_of(pb.GenerateRequest(tools=[tool], tool_choice=choice))
    held.hold(1, response_schema=SCHEMA)
    held.finish()
    assert json.loads(held.answer(1)[0])


def test_a_schema_that_compiled_is_not_tried_again(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = pb.GenerateRequest(response_schema=SCHEMA)
    held.outputs.matcher_of(known)
    held.outputs._trial.close()
    monkeypatch.setattr(held.outputs._trial, "_module", "none.that.there.is")
    assert held.outputs.matcher_of(known)
    with pytest.raises(Invalid, match="the process that was to compile it failed"):
        held.outputs.matcher_of(pb.GenerateRequest(response_schema='{"type": "boolean"}'))
    held.outputs._trial.close()
