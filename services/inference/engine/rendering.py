"""`python -m services.inference.engine.rendering`: renders chat templates for an engine.

A template is a program that came with the model. Here it can neither hang nor fill the engine:
the kernel ends this process when one takes too long, whatever it is doing, and refuses it memory.
One JSON object a line comes in, and one goes out: {"text"} or {"error"}.
"""

import contextlib
import json
import resource
import signal
import sys
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

CPU_SECONDS = 1.0
MEMORY_BYTES = 2 << 30
MAX_CHARACTERS = 4_000_000


def main() -> None:
    """Render until the engine goes."""
    with contextlib.suppress(ValueError, OSError):  # not every system bounds memory like this
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        # Nothing handles the signal: it ends the process, in the middle of a C function, too.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        answer = _render(asked)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


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
    main()
