"""The client's wheel, alone: what it holds and what it needs."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The dependencies of client/pyproject.toml by the names they are imported under, and theirs.
ALLOWED = """
mlx_hub buf grpc grpc_status google plotext rich tenacity typer
annotated_doc markdown_it mdurl pygments shellingham typing_extensions
"""

PROBE = """
import sys
from importlib.abc import MetaPathFinder
allowed = set(sys.argv[2].split()) | set(sys.stdlib_module_names)
class Guard(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ImportError(f"{name} is not a dependency of the client")
sys.path = [sys.argv[1], *(p for p in sys.path if "site-packages" in p or "lib/python" in p)]
sys.meta_path.insert(0, Guard())
import mlx_hub.client, mlx_hub.cli.main, mlx_hub.cli.demo
print(mlx_hub.client.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT / "client", check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_it_holds_the_stubs_the_client_and_the_command_and_is_typed(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"mlx_hub/py.typed", "mlx_hub/client/__init__.py", "mlx_hub/cli/main.py"} <= names
    assert "mlx_hub/registry/v1/registry_service_pb2.pyi" in names
    assert "mlx_hub/__init__.py" not in names
    assert {name.partition("/")[0] for name in names} == {
        "mlx_hub",
        "buf",
        "mlx_hub_client-0.1.0.dist-info",
    }


def test_it_imports_with_its_own_dependencies_alone(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(folder)
    # -S keeps the checkout, which .pth files add, off the path.
    paths = sysconfig.get_path("purelib")
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROBE, str(folder), ALLOWED],
        env={"PYTHONPATH": paths},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(folder))
