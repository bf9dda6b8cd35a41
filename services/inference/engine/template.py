"""Chat templates of the model, rendered by a process that may be ended at any time."""

from typing import Any

from services.inference.engine.bounded import Bounded, BrokenBounds


class TemplateError(Exception):
    """The template refused the messages, or broke its bounds."""


class Renderer:
    """Renders; its process is started when first needed, and again after it was ended."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process = Bounded("services.inference.engine.rendering", "render")

    def start(self) -> None:
        """Start the process unless it runs; it is ready a moment later."""
        self._process.start()

    def render(self, **asked: Any) -> str:
        """Render one conversation; raises TemplateError with the reason."""
        try:
            answer = self._process.ask(**asked)
        except BrokenBounds as error:
            raise TemplateError(str(error)) from error
        if "error" in answer:
            raise TemplateError(answer["error"])
        return str(answer["text"])

    def close(self) -> None:
        """End the process."""
        self._process.close()


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
