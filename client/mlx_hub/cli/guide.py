"""What a word that is no command was probably meant as."""

from collections.abc import Iterator, Sequence
from typing import Any

from typer.core import TyperGroup

# What other tools call it; the value is what `mlx-hub` or the group calls it.
_SYNONYMS = {
    "ls": "list",
    "rm": "delete",
    "remove": "delete",
    "add": "create",
    "new": "create",
    "get": "show",
    "info": "show",
    "describe": "show",
    "start": "up",
    "serve": "up",
    "stop": "down",
    "run": "generate",
    "ask": "generate",
    "train": "submit",
    "pull": "import",
    "health": "status",
}
_MOST = 4


class GuidingGroup(TyperGroup):
    """A group of commands that knows where else a word is one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; fail with what may have been meant."""
        word = args[0]
        if not word.startswith("-") and word not in self.commands:
            root = ctx.find_root()
            found = _meant(root.command, self, ctx.info_name, args)
            if found:
                meant = ", ".join(f"'{root.info_name} {path}'" for path in found[:_MOST])
                ctx.fail(f"No such command {word!r}. Did you mean {meant}?")
        return super().resolve_command(ctx, args)


def _meant(root: Any, group: Any, name: str, args: Sequence[str]) -> list[str]:
    """Find commands elsewhere, or here by another name; the likeliest alone if there is one."""
    verb = _SYNONYMS.get(args[0], args[0])
    every = dict(_walk(root, ()))
    here = next(path for path, found in every.items() if found is group)
    if verb != args[0] and verb in group.commands:
        return [" ".join((*here, verb))]
    if here and verb == "list":
        # The noun is listed by another one's verb: `models versions`.
        listed = [path for path in every if path[-1:] == (name,) and path != here]
    else:
        listed = []
    named = [path for path in every if path[-1:] == (verb,)]
    nouns = {noun for word in args[1:2] for noun in (word, f"{word}s")}
    likely = [path for path in named if nouns & set(path[:-1])]
    return [" ".join(path) for path in listed or likely or named]


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _walk(below, (*path, name))
