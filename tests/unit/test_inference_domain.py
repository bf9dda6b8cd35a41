"""Crash guard, memory forecast, and the conversions of messages."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.internal.v1 import engine_pb2
from mlx_hub.registry.v1 import publication_pb2

from services.chassis.errors import DataLoss, HubError, Internal, Invalid
from services.inference import memory
from services.inference.crash_guard import CrashGuard
from services.inference.domain import (
    Answer,
    Attention,
    Base,
    Delta,
    EngineLimits,
    Finished,
    Generation,
    LikelyToken,
    Provenance,
    TokenLogprob,
    Turn,
)
from services.inference.messages import (
    completion_of,
    delta_of,
    error_of,
    event_of,
    generation_of,
    logprob_of,
    request_of,
    target_of,
)
from services.inference.output import Output, Tool, ToolCall
from services.runtime.shape import read_shape


def test_one_crash_is_forgiven_at_once_and_more_are_spaced() -> None:
    guard, now = CrashGuard(), 100.0
    assert guard.wait(now) == 0
    waits = []
    for _ in range(8):
        guard.crashed(now)
        waits.append(guard.wait(now))
    assert waits == [0, 1, 2, 4, 8, 16, 30, 30]
    assert guard.looping(now)
    assert guard.wait(now + 29) == 1
    assert guard.wait(now + 61) == 0
    assert not guard.looping(now + 61)


def test_the_forecast_counts_weights_and_admitted_keys_and_values(tmp_path: Path) -> None:
    config = {
        "hidden_size": 576,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "num_hidden_layers": 30,
        "intermediate_size": 1536,
        "vocab_size": 49152,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    shape = read_shape(tmp_path)
    base = Base("smol", "d", tmp_path, parameters=134_515_008, size_bytes=118_761_944)
    small = memory.forecast(base, shape, EngineLimits(8, 8192, 16), dense=True)
    large = memory.forecast(base, shape, EngineLimits(8, 16384, 16), dense=True)
    keys_and_values = 46_080 * 8192
    assert 134_515_008 * 4 + keys_and_values < small < 1.6e9
    assert keys_and_values < large - small < 1.5 * keys_and_values
    stored = memory.forecast(base, shape, EngineLimits(8, 8192, 16), dense=False)
    assert stored < small
    kept = memory.forecast(base, shape, EngineLimits(8, 8192, 16, cache_bytes=10**9), dense=True)
    assert kept == small + 10**9
    quantised = memory.forecast(base, shape, EngineLimits(8, 8192, 16, kv_bits=8), dense=True)
    # A byte each, and of 64 together a scale and a bias of four.
    layer = keys_and_values // shape.layers  # unpacked for its attention
    assert small - quantised == keys_and_values - keys_and_values // 4 * (1 + 8 / 64) - layer


def test_a_multi_modal_config_is_read_where_its_text_part_is(tmp_path: Path) -> None:
    text = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": text}))
    shape = read_shape(tmp_path)
    assert (shape.layers, shape.head_dim) == (3, 16)


generations = st.builds(
    Generation,
    prompt=st.text(max_size=20),
    turns=st.lists(st.builds(Turn, st.sampled_from(["user", "system"]), st.text())).map(tuple),
    max_tokens=st.integers(1, 32768),
    temperature=st.floats(0, 2, width=32),
    top_p=st.floats(0.125, 1, width=32),
    top_k=st.integers(0, 1000),
    min_p=st.floats(0, 1, width=32),
    repetition_penalty=st.floats(0.125, 2, width=32),
    presence_penalty=st.floats(-2, 2, width=32),
    frequency_penalty=st.floats(-2, 2, width=32),
    logit_bias=st.dictionaries(st.integers(0, 2**31 - 1), st.floats(-100, 100, width=32)),
    logprobs=st.booleans(),
    top_logprobs=st.integers(0, 20),
    drafting=st.booleans(),
    stop=st.lists(st.text(min_size=1), max_size=3).map(tuple),
    seed=st.none() | st.integers(0, 2**31 - 1),
    cache_prompt=st.booleans(),
    cache_salt=st.text(max_size=20),
)


@given(generations)
def test_generations_survive_the_wire(generation: Generation) -> None:
    again = pb.GenerateRequest.FromString(request_of(generation).SerializeToString())
    assert generation_of(again) == generation


CALL = ToolCall("c1", "f", '{"a": "é"}')
TOOLS = (Tool("f", "does it", '{"type": "object"}', strict=True), Tool("g"))
OUTPUTS = (
    Output(response_schema='{"type": "object"}'),
    Output(regex="a|b"),
    Output(choice=("a", "b")),
    Output(tools=TOOLS, tool_choice=2),
    Output(tools=TOOLS, tool_choice=3, required_tool="g"),
)


@pytest.mark.parametrize("output", OUTPUTS)
def test_what_answers_are_held_to_survives_the_wire(output: Output) -> None:
    turns = (Turn("assistant", "", (CALL,)), Turn("tool", "4", (), "c1"))
    generation = Generation(turns=turns, output=output)
    again = pb.GenerateRequest.FromString(request_of(generation).SerializeToString())
    assert generation_of(again) == generation


@pytest.mark.parametrize(
    ("output", "field"),
    [
        (Output(response_schema="{"), "response_schema"),
        (Output(response_schema="[]"), "response_schema"),
        (Output(response_schema='{"a":' * 64 + "{}" + "}" * 64), "response_schema"),
        (Output(response_schema='{"a":' * 9999 + "{}" + "}" * 9999), "response_schema"),
        (Output(tools=(Tool("f"), Tool("g", "", "true"))), "tools[1].parameters"),
        (Output(tools=(Tool("f", "", '{"minimum": NaN}'),)), "tools[0].parameters"),
        (Output(response_schema='{"description": "\\ud800"}'), "response_schema"),
        (Output(tools=(Tool("f", "", '{"\\udfff": {}}'),)), "tools[0].parameters"),
    ],
)
def test_what_no_answer_could_be_held_to_is_refused(output: Output, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        Generation(prompt="x", output=output).check_output()
    assert [v.field for v in caught.value.violations] == [field]


def test_schemas_may_be_nested_as_deep_as_the_bound() -> None:
    Generation(output=Output(response_schema='{"a":' * 63 + "{}" + "}" * 63)).check_output()
    turn = Turn("assistant", "", (ToolCall("c", "f", "[1]"),))
    with pytest.raises(Invalid, match=r"messages\[0\].tool_calls.arguments"):
        Generation(turns=(turn,)).check_output()


def test_tools_and_calls_count_as_text() -> None:
    large = "x" * 600_000
    turn = Turn("assistant", "", (ToolCall("c", "f", large),))
    with pytest.raises(Invalid, match="messages has"):
        Generation(turns=(turn,), output=Output(tools=(Tool("f", large),))).check_size()


def test_calls_are_frames_of_their_own_and_in_the_completion() -> None:
    event = engine_pb2.EngineEvent()
    event.tool_call.tokens = 7
    event.tool_call.call.MergeFrom(event_of(Delta("", 7, tool_calls=(CALL,))).tool_call)
    assert delta_of(event) == Delta("", 7, tool_calls=(CALL,))
    done = replace(DONE, reason="tool_calls")
    answer = Answer("", done, 2, 1, PROVENANCE, Generation(), tool_calls=(CALL,))
    completion = completion_of(answer)
    assert completion.finish_reason == completion_pb.FINISH_REASON_TOOL_CALLS
    assert [call.arguments for call in completion.tool_calls] == ['{"a": "é"}']


def test_what_a_request_leaves_open_takes_the_documented_defaults() -> None:
    assert generation_of(pb.GenerateRequest(model_id=1, prompt="x")) == Generation(
        prompt="x",
        max_tokens=256,
        temperature=0,
        top_p=1,
        top_k=0,
        min_p=0,
        repetition_penalty=1,
        seed=None,
    )
    assert generation_of(pb.GenerateRequest(prompt="x"), drafting=True).drafting
    assert not generation_of(pb.GenerateRequest(prompt="x", drafting=False), drafting=True).drafting
    zero = pb.GenerateRequest(prompt="x", seed=0, max_tokens=1)
    assert (generation_of(zero).seed, generation_of(zero).max_tokens) == (0, 1)


def test_text_beyond_the_bound_is_refused_before_it_is_tokenised() -> None:
    Generation(prompt="x" * 1_000_000).check_size()
    with pytest.raises(Invalid) as caught:
        Generation(turns=(Turn("user", "é" * 300_000), Turn("user", "é" * 300_000))).check_size()
    assert caught.value.metadata == {"field": "messages"}


PROVENANCE = Provenance(7, "bot", "tiny", "b" * 64, 2, "a" * 64, 5, "d" * 64, "c0ffee")
DONE = Finished(
    "length", 3, prompt_tokens=9, cached_tokens=0, ttft_ms=1.5, drafted_tokens=4, accepted_tokens=2
)


def test_a_finished_answer_arrives_whole() -> None:
    likely = LikelyToken(5, "\ufffd", b"\xe2", -0.5)
    logprobs = (TokenLogprob(likely, (likely, LikelyToken(6, "b", b"b", -1.5))),)
    generation = Generation(prompt="x", temperature=0.5, presence_penalty=1).begun("g1")
    answer = Answer("abc", DONE, 20, 10, PROVENANCE, generation, logprobs)
    completion = completion_of(answer)
    assert completion.generation_id == "g1"
    assert completion.sampling.seed == generation.seed
    assert (completion.sampling.temperature, completion.sampling.presence_penalty) == (0.5, 1)
    assert tuple(map(logprob_of, completion.logprobs)) == logprobs
    assert completion.finish_reason == completion_pb.FINISH_REASON_LENGTH
    assert (completion.tokens, completion.prompt_tokens) == (3, 9)
    assert (completion.drafted_tokens, completion.accepted_tokens) == (4, 2)
    assert (completion.ttft_ms, completion.engine_ttft_ms) == (10, 1.5)
    assert completion.provenance.dataset_digest == "d" * 64
    assert completion.provenance.version == 2
    assert event_of(answer).completion == completion
    delta = event_of(Delta("a", 1, logprobs)).delta
    assert delta == pb.TextDelta(text="a", tokens=1, logprobs=completion.logprobs)


def test_a_seed_is_drawn_where_something_is_drawn_by_it() -> None:
    greedy, wild = Generation(prompt="x"), Generation(prompt="x", temperature=1)
    assert greedy.begun().seed is None
    assert wild.begun().seed != wild.begun().seed
    assert wild.begun().id != wild.begun().id
    assert Generation(prompt="x", seed=7).begun("a") == Generation(prompt="x", seed=7, id="a")
    greedy_answer = Answer("", DONE, 0, 0, PROVENANCE, Generation(prompt="x", seed=7))
    assert not completion_of(greedy_answer).sampling.HasField("seed")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("PROMPT_REFUSED", Invalid), ("ARTIFACT_CORRUPT", DataLoss), ("GENERATION_FAILED", Internal)],
)
def test_an_engines_error_keeps_its_kind_and_field(reason: str, kind: type[HubError]) -> None:
    failed = engine_pb2.EngineFailed(reason=reason, message="why", metadata={"field": "messages"})
    error = error_of(failed)
    assert type(error) is kind
    assert [v.field for v in error.violations] == ["messages"]


def test_a_resolved_base_model_has_no_adapter() -> None:
    resolved = publication_pb2.ResolvedModel()
    resolved.model.id, resolved.model.name = 4, "bot"
    resolved.base_model.name, resolved.base_model.digest = "tiny", "b" * 64
    resolved.base_model.artifact_path, resolved.base_model.parameters = "base/b", 10.0
    target = target_of(resolved, Path("/archive").joinpath)
    assert target.adapter is None
    assert target.base == Base("tiny", "b" * 64, Path("/archive/base/b"), 10, 0)
    assert (target.provenance.version, target.provenance.adapter_digest) == (0, "")
    assert (target.provenance.kv_bits, target.provenance.max_kv_size) == (0, 0)
    resolved.version.version, resolved.version.checksum = 3, "a" * 64
    resolved.version.artifact_path, resolved.version.job_id = "versions/v", 8
    resolved.lineage.dataset.digest = "d" * 64
    target = target_of(resolved, Path("/archive").joinpath, Attention(kv_bits=8, max_kv_size=48))
    assert target.adapter is not None
    assert target.adapter.path == Path("/archive/versions/v")
    assert (target.provenance.version, target.provenance.job_id) == (3, 8)
    told = completion_pb.Provenance(**vars(target.provenance))
    assert (told.kv_bits, told.max_kv_size) == (8, 48)
