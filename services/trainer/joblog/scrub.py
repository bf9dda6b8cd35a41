"""What a worker prints, fit to be shown: no absolute path, no secret, no terminal code."""

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from services.chassis.settings import mask

MAX_CHARACTERS = 2000
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASS(WORD|WD)|API_?KEY|CREDENTIAL|DATABASE_URL|_KEY$")
_SHORTEST_SECRET = 6
_CONTROL = dict.fromkeys((*range(32), *range(127, 160))) | {9: " "}
_ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-_])")
_TOP = "usr|etc|opt|var|home|root|tmp|mnt|srv|dev|nix|proc|private|Users|Library|System|Volumes"
_PATH = re.compile(
    rf"(?:(?<![\w/.…-])|(?=/(?:{_TOP})/))"
    r"(?P<url>[A-Za-z][\w+.-]*://[^\s/]*)?(?P<path>(?:/[^\s/'\"<>|;:,()\[\]]+)+)"
)


class Scrubber:
    """Blots out the node's folders, the environment's secrets and every other absolute path."""

    def __init__(self, folders: Iterable[Path], environment: Mapping[str, str]) -> None:
        """Take what is known by name: folders may have names that no pattern finds the end of."""
        known = {Path.home(), Path.cwd(), Path(sys.prefix), Path(tempfile.gettempdir()), *folders}
        named = {str(way) for path in known for way in (path, path.resolve())}
        longest_first = sorted(named - {"/"}, key=len, reverse=True)
        self._folders = re.compile(f"(?:{'|'.join(map(re.escape, longest_first))})(?![\\w.-])")
        secrets = {
            value
            for name, value in environment.items()
            if _SECRET_NAME.search(name.upper()) and len(value) >= _SHORTEST_SECRET
        }
        self._secrets = sorted(secrets, key=len, reverse=True)

    @classmethod
    def of_this_process(cls, *folders: Path) -> "Scrubber":
        """Take the process's own environment."""
        return cls(folders, os.environ)

    def __call__(self, text: str) -> str:
        """Give the text to show, cut where it is long."""
        text = _ESCAPE.sub("", text).translate(_CONTROL)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = mask(text)
        text = self._folders.sub("…", text)
        text = _PATH.sub(_shortened, text)
        return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"


def _shortened(found: re.Match[str]) -> str:
    """Leave of a path its last name, and an address as it is."""
    url = found["url"] or ""
    if url and not url.lower().startswith("file:"):
        return found[0]
    return "…/" + found["path"].rsplit("/", 1)[-1]
