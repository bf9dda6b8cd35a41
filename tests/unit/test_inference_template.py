"""Chat templates are programs: rendered elsewhere, and ended when they go on too long."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from services.inference.engine.template import BoundedTokenizer, Renderer, TemplateError
from tests.fixtures.tiny_tools import TEMPLATE

LINES = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
TURNS = [{"role": "user", "content": "häuser\n\u2028?"}]
CALL = {"type": "function", "function": {"name": "f", "arguments": {"a": "é"}}}


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    renderer = Renderer()
    yield renderer
    renderer.close()


def render(renderer: Renderer, template: str) -> str:
    return renderer.render(conversations=[TURNS], chat_template=template)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 10 ** 100000000 }}",  # in C, where no Python code could stop it
    ],
)
def test_what_takes_too_long_is_ended_and_the_next_is_rendered(
    renderer: Renderer, template: str
) -> None:
    with pytest.raises(TemplateError, match="too long"):
        render(renderer, template)
    assert render(renderer, LINES) == "user: häuser\n\u2028?\n"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ 'x' * 10 ** 10 }}", "MemoryError"),
        ("{% for a in range(99999) %}{{ 'x' * 100000 }}{% endfor %}", "MemoryError"),
        ("{{ 'x' * 5000000 }}", "more than 4000000"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ raise_exception('roles must\\nalternate') }}", "roles must alternate"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ ().__class__.__bases__ }}", "unsafe"),
        ("{% if", "unexpected"),
    ],
)
def test_what_breaks_another_bound_is_refused(renderer: Renderer, template: str, why: str) -> None:
    with pytest.raises(TemplateError, match=why):
        render(renderer, template)


@pytest.mark.parametrize("tools", [None, [{"type": "function", "function": {"name": "f"}}]])
def test_it_renders_what_the_tokenizer_itself_would(
    renderer: Renderer, tiny_model: Path, tools: list[dict[str, Any]] | None
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = TEMPLATE
    tokenizer.has_thinking = False
    turns: list[dict[str, Any]] = [
        *TURNS,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
    ]
    options: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True, "tools": tools}
    bounded = BoundedTokenizer(tokenizer, renderer).apply_chat_template(turns, **options)
    assert bounded == tokenizer.apply_chat_template(turns, **options)
    assert "é" in bounded
