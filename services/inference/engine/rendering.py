"""`python -m services.inference.engine.rendering`: renders chat templates for an engine.

A template is a program that came with the model. Here it can neither hang nor fill the engine.
{"text"} or {"error"} comes out.
"""

from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from services.inference.engine.bounded import serve

MAX_CHARACTERS = 4_000_000


def _render(asked: dict[str, Any]) -> dict[str, str]:
    try:
        # In Jinja's immutable sandbox, as the tokenizer itself would render it.
        rendered: Any = render_jinja_template(**asked)
    except Exception as error:  # templates raise what they like
        return {"error": " ".join(str(error).split())[:200] or type(error).__name__}
    text = rendered[0][0]
    if len(text) > MAX_CHARACTERS:
        return {"error": f"it makes more than {MAX_CHARACTERS} characters; send fewer messages"}
    return {"text": text}


if __name__ == "__main__":
    serve(_render)
