"""Let `import transformers` take a third of its time.

It reads its 1600 source files on import, to learn which name is defined where, and does so twice:
its memory of that holds 128 of 550 folders. It looks for each file's last line that begins with
`__all__`, line by line, in Python. That was two thirds of the second and a half of CPU that each
engine, training and import takes before it can begin.
"""

import functools
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_SCANNER = "transformers.utils.import_utils"


def quicken() -> None:
    """Have the scan made once and fast by whoever imports transformers first, later."""
    if "transformers" not in sys.modules and _Finder not in map(type, sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds one module as it would be found anyway, and changes it before anyone uses it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _SCANNER:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec and (loader := spec.loader):
            execute = loader.exec_module

            def execute_and_change(module: ModuleType) -> None:
                execute(module)
                _change(module)

            setattr(loader, "exec_module", execute_and_change)  # noqa: B010  of this one loader
        return spec


def _change(scanner: Any) -> None:
    """Remember every folder, and show the search for `__all__` the file from there on only."""
    search = scanner.fetch__all__
    scan = scanner.create_import_structure_from_path.__wrapped__

    @functools.wraps(search)
    def from_last(content: str) -> Any:
        return search(content[content.rfind("\n__all__") + 1 :])

    scanner.fetch__all__ = from_last
    scanner.create_import_structure_from_path = functools.cache(scan)
