"""`mlx-hub chat`: turns with one model, typed or piped."""

import contextlib
import json as jsonlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from mlx_hub.cli.answer import Telling
from mlx_hub.cli.errors import describe
from mlx_hub.cli.generate import SAMPLING, AskedArgument
from mlx_hub.cli.options import takes
from mlx_hub.cli.output import JsonOption, emit, plain, printable
from mlx_hub.cli.session import find_model, hub, split_version
from mlx_hub.client import Cancelled, HubError, TokenStream

FENCE = '"""'
HELP = f"""\
/system [TEXT]  tell the model TEXT first, from the next answer on; without TEXT, nothing
/reset          forget all turns; what /system said stays
/save FILE      add the chat to FILE as a line of JSON, which is a row of a dataset
/quit           end, as Ctrl-D does
/help           show this
{FENCE}             begins and ends a text of several lines
//TEXT          sends a text that begins with /
Ctrl-C stops an answer; what came of it stays in the chat."""


@contextlib.contextmanager
def interruptible(ask: Callable[[], TokenStream]) -> Iterator[tuple[TokenStream, threading.Event]]:
    """Ask, and let Ctrl-C close the stream from another thread; give both, and whether it did.

    Raised in the middle of gRPC, KeyboardInterrupt can leave one of its locks held, and no later
    call on the channel would be answered. Pressed a second time, it is raised all the same.
    """
    pressed, over = threading.Event(), threading.Event()

    def press(*_: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()
        over.set()

    def watch() -> None:
        over.wait()
        stream.close()

    before = signal.signal(signal.SIGINT, press)
    try:
        with ask() as stream:
            threading.Thread(target=watch, daemon=True).start()
            yield stream, pressed
    finally:
        over.set()
        signal.signal(signal.SIGINT, before)


class _Ended(Exception):
    """The chat is over."""


@dataclass
class Chat:
    """The turns so far; `ask` streams the answer to messages."""

    ask: Callable[[list[Mapping[str, str]]], TokenStream]
    typed: bool
    system: str = ""
    as_json: bool = False
    turns: list[Mapping[str, str]] = field(default_factory=list)

    def run(self) -> None:
        """Take texts and commands until there are no more."""
        while True:
            try:
                self._take(self._read())
            except KeyboardInterrupt:
                if not self.typed:
                    raise
                typer.echo()
            except (EOFError, _Ended):
                return

    def _read(self) -> str:
        """Read one text: a line, or lines between fences."""
        line = self._line(">>> ")
        if not line.startswith(FENCE):
            return line
        lines = [line.removeprefix(FENCE)]
        while not lines[-1].endswith(FENCE):
            lines.append(self._line("... "))
        return "\n".join(lines).removesuffix(FENCE).strip("\n")

    def _line(self, prompt: str) -> str:
        try:
            return input(prompt if self.typed and sys.stdout.isatty() else "")
        except EOFError:
            if self.typed:
                typer.echo()
            raise

    def _take(self, text: str) -> None:
        if text.startswith("/") and not text.startswith("//"):
            self._command(*text[1:].strip().partition(" ")[::2])
        elif text.strip():
            self._turn(text[1:] if text.startswith("//") else text)

    def _turn(self, text: str) -> None:
        """Answer one text; a turn without an answer is forgotten, so that it can be asked again."""
        asked = [*self.turns, {"role": "user", "content": text}]
        try:
            answer = self._answer([*self._first(), *asked])
        except HubError as error:
            if not self.typed:
                raise
            typer.echo(describe(error), err=True)
            return
        if answer:
            self.turns = [*asked, {"role": "assistant", "content": answer}]

    def _answer(self, messages: list[Mapping[str, str]]) -> str:
        """Show an answer as it is made; Ctrl-C keeps what has been shown of it."""
        if not self.typed:
            with self.ask(messages) as stream:
                return self._shown(Telling(stream), stream)
        with interruptible(lambda: self.ask(messages)) as (stream, pressed):
            telling = Telling(stream)
            try:
                return self._shown(telling, stream)
            except Cancelled:
                if not pressed.is_set():
                    raise
                self._say("stopped")
                return telling.text

    def _shown(self, telling: Telling, stream: TokenStream) -> str:
        if self.as_json:
            emit(plain(stream.result()), indent=None)
            return stream.completion.text
        telling.run()
        telling.tell_speed()
        return telling.text

    def _first(self) -> list[Mapping[str, str]]:
        return [{"role": "system", "content": self.system}] if self.system else []

    def _command(self, name: str, value: str) -> None:
        match name:
            case "help":
                self._say(HELP)
            case "quit" | "exit":
                raise _Ended
            case "reset":
                self.turns = []
                self._say("all turns are forgotten")
            case "system":
                self.system = value.strip()
                self._say("the model is told so first" if value else "the model is told nothing")
            case "save":
                self._save(value.strip())
            case _:
                self._unknown(name)

    def _save(self, path: str) -> None:
        if not (path and self.turns):
            self._say("there are no turns to save" if path else "say where: /save FILE")
            return
        row = jsonlib.dumps({"messages": [*self._first(), *self.turns]}, ensure_ascii=False)
        try:
            with Path(path).expanduser().open("a") as file:
                file.write(f"{row}\n")
        except OSError as error:
            self._say(f"{path} can't be written: {error.strerror}")
        else:
            self._say(f"added to {path}")

    def _unknown(self, name: str) -> None:
        near = get_close_matches(name, ("help", "system", "reset", "save", "quit"), n=1)
        hint = f"did you mean /{near[0]}?" if near else "/help lists the commands"
        self._say(f"there is no command /{name}; {hint}")
        if not self.typed:
            raise typer.Exit(2)

    def _say(self, text: str) -> None:
        """Speak beside the answers, so that a program reads nothing else on stdout."""
        typer.echo(printable(text), err=True)


@takes(SAMPLING)
def chat(
    ctx: typer.Context,
    model: AskedArgument,
    *,
    system: Annotated[str, typer.Option(help="What to tell the model first.")] = "",
    json: JsonOption = False,
) -> None:
    """Talk with a model; /help lists what else can be typed, Ctrl-D ends.

    From a pipe each line is a turn, and the first that fails ends the chat; --json prints each
    answer as one line.
    """
    here = hub(ctx)
    name, version = split_version(model)
    found = find_model(here, name)
    sampling: dict[str, Any] = {option: ctx.params[option] for option in SAMPLING}

    def ask(messages: list[Mapping[str, str]]) -> TokenStream:
        return here.stream(found.id, messages=messages, version=version, **sampling)

    talk = Chat(ask, sys.stdin.isatty(), system, json)
    if talk.typed:
        with contextlib.suppress(ImportError):
            import_module("readline")  # where it is there, lines can be edited and recalled
        typer.echo(printable(f"{found.name}:{version or 'latest'}; /help, Ctrl-D ends"), err=True)
    talk.run()
