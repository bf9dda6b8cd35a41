"""Tool calls: in the formats that models write, and through a real engine."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from mlx_hub.inference.v1 import tools_pb2

from services.chassis.errors import Invalid
from services.inference.domain import Delta, Finished, Generation, Turn
from services.inference.output import Output, Tool, ToolCall
from services.runtime.model import prepare
from tests.fixtures.tiny_tools import ENDLESS
from tests.integration.test_inference_engine import Running, start

pytestmark = pytest.mark.asyncio(loop_scope="module")

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OFFERED = [
    {"type": "function", "function": {"name": name, "description": "", "parameters": CITY}}
    for name in ("weather", "time")
]
ROME, BERN = ("weather", {"city": "Rom"}), ("time", {"city": "Bern"})
# As the models' own templates show them.
FORMATS: dict[str, tuple[str, list[Any]]] = {
    "json_tools": (
        'Sure.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rom"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "time", "arguments": {"city": "Bern"}}\n</tool_call>',
        ["Sure.\n", ROME, "\n", BERN],
    ),
    "qwen3_coder": (
        "<tool_call>\n<function=weather>\n<parameter=city>\nRom\n</parameter>\n</function>\n"
        "</tool_call> done",
        [ROME, " done"],
    ),
    "pythonic": (
        "<|tool_call_start|>[weather(city='Rom'), time(city=\"Bern\")]<|tool_call_end|>ok",
        [ROME, BERN, "ok"],
    ),
    "mistral": (
        '[TOOL_CALLS]weather[ARGS]{"city": "Rom"}time[ARGS]{"city": "Bern"}',
        [ROME, BERN],
    ),
    "kimi_k2": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0"
        '<|tool_call_argument_begin|>{"city": "Rom"}<|tool_call_end|><|tool_calls_section_end|>',
        [ROME],
    ),
}
# What only looks like a call, and is text.
BROKEN = [
    "a <tool_call> b",
    '<tool_call>{"name": "weather", "arguments": {"city": "Ro',
    '<tool_call>{"name": "weather"}</tool_call>',
    '<tool_call>{"name": "nobody", "arguments": {}}</tool_call> and on',
    '<tool_call>{"name": "weather", "arguments": [1]}</tool_call>',
    '<tool_call>{"name": "weather", "arguments": {"city": NaN}}</tool_call>',
    "<tool_call></tool_call>",
    "1 <tool_cal 2 </tool_call> 3",
]


def read(kind: str, text: str, size: int) -> list[Any]:
    """Read a text in pieces of some size; give text and (name, arguments), text joined."""
    prepare()
    from services.inference.engine.calls import ToolReader  # noqa: PLC0415
    from services.inference.engine.tools import ToolFormat  # noqa: PLC0415

    module = import_module(f"mlx_lm.tool_parsers.{kind}")
    start, end = module.tool_call_start, module.tool_call_end
    form = ToolFormat(kind, start, end, frozenset(), module.parse_tool_call)
    reader = ToolReader(form, OFFERED)
    pieces = [p for at in range(0, len(text), size) for p in reader.push(text[at : at + size])]
    found: list[Any] = []
    for piece in [*pieces, *reader.flush()]:
        if isinstance(piece, tools_pb2.ToolCall):
            assert piece.id.startswith("call_")
            found.append((piece.name, json.loads(piece.arguments)))
        elif found and isinstance(found[-1], str):
            found[-1] += piece
        else:
            found.append(piece)
    return found


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_calls_are_found_in_each_format_whatever_the_pieces(kind: str, size: int) -> None:
    text, expected = FORMATS[kind]
    assert read(kind, text, size) == expected


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("size", [1, 1000])
async def test_what_is_no_call_stays_text(text: str, size: int) -> None:
    assert read("json_tools", text, size) == [text]


async def test_a_call_that_the_model_does_not_close_is_one_all_the_same() -> None:
    text = '<tool_call>\n{"name": "weather", "arguments": "{\\"city\\": \\"Rom\\"}"}\n'
    assert read("json_tools", text, 1) == [ROME]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tiny_tools: Path) -> AsyncIterator[Running]:
    running = await start(tiny_tools)
    yield running
    children = psutil.Process(running.engine.pid).children()
    assert len(children) == 2, "one renders and one compiles"
    await running.engine.stop()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, "a child outlives its engine"


SMALL = json.dumps(
    {
        "type": "object",
        "properties": {"city": {"enum": ["Rom", "Bern"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
)
TOOLS = (Tool("weather", "Tells the weather.", SMALL), Tool("time", parameters=SMALL))
REQUIRED = int(tools_pb2.TOOL_CHOICE_REQUIRED)


async def ask(
    running: Running, text: str = "hi", *turns: Turn, **output: Any
) -> tuple[list[Delta], Finished]:
    generation = Generation(
        turns=(Turn("user", text), *turns), max_tokens=120, output=Output(**output)
    )
    deltas: list[Delta] = []
    async with aclosing(running.engine.generate(generation, None)) as frames:
        async for frame in frames:
            if isinstance(frame, Finished):
                return deltas, frame
            deltas.append(frame)
    raise AssertionError("an answer without an end")


async def test_a_required_call_comes_as_a_frame_of_its_own(running: Running) -> None:
    deltas, finished = await ask(running, tools=TOOLS, tool_choice=REQUIRED)
    assert finished.reason == "tool_calls"
    assert [delta.text for delta in deltas] == [""]
    [call] = deltas[0].tool_calls
    assert call.name in ("weather", "time")
    assert json.loads(call.arguments)["city"] in ("Rom", "Bern")
    assert 0 < deltas[0].tokens <= finished.tokens


async def test_a_named_tool_is_the_one_that_is_called(running: Running) -> None:
    for tool in TOOLS:
        deltas, _ = await ask(running, tools=TOOLS, tool_choice=REQUIRED, required_tool=tool.name)
        assert [call.name for delta in deltas for call in delta.tool_calls] == [tool.name]


async def test_the_template_sees_tools_calls_and_results_and_none_where_none_may_be(
    running: Running,
) -> None:
    _, plain = await ask(running)
    _, offered = await ask(running, tools=TOOLS)
    _, none = await ask(running, tools=TOOLS, tool_choice=int(tools_pb2.TOOL_CHOICE_NONE))
    assert offered.prompt_tokens > plain.prompt_tokens + len(SMALL)
    assert none.prompt_tokens == plain.prompt_tokens
    called = Turn("assistant", "", (ToolCall("c1", "time", '{"city": "Rom"}'),))
    _, after = await ask(running, "hi", called, Turn("tool", "noon", (), "c1"))
    assert after.prompt_tokens > plain.prompt_tokens + len("time" + '{"city": "Rom"}' + "noon")


async def test_a_strict_tool_leaves_the_model_free_to_talk(running: Running) -> None:
    strict = (Tool("weather", parameters=SMALL, strict=True),)
    free, _ = await ask(running, tools=TOOLS)
    deltas, finished = await ask(running, tools=strict)
    assert finished.reason == "length"
    assert "".join(delta.text for delta in deltas)
    assert not [delta for delta in (*free, *deltas) if delta.tool_calls]


async def test_refusals_name_the_field_and_harm_no_one(running: Running) -> None:
    good, _ = await running.text(prompt="good one")
    refused: list[tuple[Any, str, str]] = [
        (ask(running, regex="(a"), "CONSTRAINT_REFUSED", "regex"),
        (
            ask(running, tools=(Tool("f", parameters='{"not": {}}'),), tool_choice=REQUIRED),
            "CONSTRAINT_REFUSED",
            "tools",
        ),
        (ask(running, ENDLESS), "PROMPT_REFUSED", "messages"),
    ]
    tasks = [asyncio.ensure_future(call) for call, _, _ in refused]
    assert (await running.text(prompt="good one"))[0] == good
    for task, (_, reason, field) in zip(tasks, refused, strict=True):
        with pytest.raises(Invalid) as caught:
            await task
        assert (caught.value.reason, caught.value.violations[0].field) == (reason, field)
    _, finished = await ask(running)
    assert finished.tokens
