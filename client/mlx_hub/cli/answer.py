"""An answer as it is made: its text on stdout, and on stderr how fast it came."""

import sys
import time

import typer
from mlx_hub.cli.engines import progress
from mlx_hub.cli.output import console, literal, printable
from mlx_hub.client import TokenStream
from mlx_hub.inference.v1.completion_pb2 import Completion
from mlx_hub.inference.v1.residency_pb2 import Loading


class Telling:
    """Prints a stream's text; `text` is what was printed, also of an answer that was cut short."""

    def __init__(self, stream: TokenStream) -> None:
        self.text = ""
        self._stream = stream
        self._start = time.monotonic()
        self._first = self._end = self._start
        if sys.stderr.isatty():
            stream.on_loading = _show_loading

    def run(self) -> None:
        """Print the text to its end."""
        try:
            for piece in self._stream:
                if not self.text:
                    self._first = time.monotonic()
                    self._clear_loading()
                self.text += piece
                typer.echo(printable(piece), nl=False)
            self._end = time.monotonic()
        finally:
            if self.text:
                typer.echo()
            else:
                self._clear_loading()

    def tell_speed(self) -> None:
        """Say how fast the finished answer came, measured here, and what it is called."""
        told = speed(self._stream.completion, self._first - self._start, self._end - self._first)
        console(stderr=True).print(literal(told, "dim"), soft_wrap=True)

    def _clear_loading(self) -> None:
        if self._stream.on_loading:
            typer.echo("\r\x1b[K", err=True, nl=False)


def speed(done: Completion, ttft: float, rest: float) -> str:
    """One line of counts and times; the first token's time is the prompt's, not the speed's."""
    parts = [f"{done.tokens} tokens"]
    if done.tokens > 1 and rest > 0:
        parts.append(f"{(done.tokens - 1) / rest:.1f} tok/s")
    parts.append(f"first after {ttft:.2f} s")
    if done.cached_tokens:
        parts.append(f"{done.cached_tokens} of {done.prompt_tokens} prompt tokens cached")
    return f"{', '.join(parts)}; generation {done.generation_id}"


def _show_loading(loading: Loading) -> None:
    """Overwrite one line of the terminal with how far the model is."""
    typer.echo(f"\r\x1b[K{printable(loading.base_model)}: {progress(loading)}", err=True, nl=False)
