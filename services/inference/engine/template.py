"""Chat templates of the model, rendered by a process that may be ended at any time."""

import json
import logging
import signal
import socket
import subprocess
import sys
from typing import Any

from services.chassis import children

log = logging.getLogger(__name__)

# Enough for every request that the contract lets in, and for its rendering, written as JSON.
_MAX_LINE = 64 << 20


class TemplateError(Exception):
    """The template refused the messages, or broke its bounds."""


class Renderer:
    """The process that renders; started when first needed, and again after it was ended."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._child: _Child | None = None

    def start(self) -> None:
        """Start the process unless it runs; it is ready a moment later."""
        if self._child is None:
            self._child = _Child()

    def render(self, **asked: Any) -> str:
        """Render one conversation; raises TemplateError with the reason."""
        child = self._child = self._child or _Child()
        line = child.exchange(json.dumps(asked, default=str).encode() + b"\n")
        if not line.endswith(b"\n"):
            self.close()
            self.start()
            raise TemplateError(child.epitaph())
        answer = json.loads(line)
        if "error" in answer:
            raise TemplateError(answer["error"])
        return str(answer["text"])

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.close()
            self._child = None


class _Child:
    """One run of the process; it ends when its link is closed."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair()
        self._lines = self._link.makefile("rb")
        quiet = {"TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "services.inference.engine.rendering"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env=children.environment(**quiet),
            )

    def exchange(self, line: bytes) -> bytes:
        """Send a line and give the answer's, or less than a line where the process ended."""
        try:
            self._link.sendall(line)
            return self._lines.readline(_MAX_LINE)
        except OSError:
            return b""

    def close(self) -> None:
        self._lines.close()
        self._link.close()
        self._process.wait()

    def epitaph(self) -> str:
        """Say how the process ended."""
        code = self._process.returncode
        if code == -signal.SIGPROF:
            log.warning("a chat template was ended: it took too long")
            return "it takes too long to render"
        log.error("the process that renders chat templates ended with %s", code)
        return "rendering it failed"


class BoundedTokenizer:
    """A model's tokenizer whose chat template is rendered elsewhere, and bounded."""

    def __init__(self, tokenizer: Any, renderer: Renderer) -> None:
        """Take mlx-lm's tokenizer wrapper; everything but the chat template is its own."""
        self._tokenizer = tokenizer
        self._renderer = renderer

    def __getattr__(self, name: str) -> Any:
        """Pass on."""
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        """Count the tokens."""
        return len(self._tokenizer)

    def apply_chat_template(self, turns: list[dict[str, Any]], **options: Any) -> str:
        """Render a conversation to text, as the wrapper does; raises TemplateError."""
        options.pop("tokenize")
        tools = options.pop("tools", None)
        template = self._tokenizer.get_chat_template(None, tools)
        context = {**self._tokenizer.special_tokens_map, "enable_thinking": self.has_thinking}
        return self._renderer.render(
            conversations=[turns], tools=tools, chat_template=template, **context, **options
        )
