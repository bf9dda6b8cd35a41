"""`mlx-hub keygen`: the key that a registry signs by."""

from pathlib import Path

from services.registry import signing
from services.stack.errors import StackError


def generate(path: Path) -> tuple[str, str]:
    """Write a private key; give its public half and its id."""
    try:
        return signing.generate(path)
    except FileExistsError:
        raise StackError(f"{path} exists, and no key is overwritten; choose another.") from None
