"""The client's wheel, alone: what it holds, that it works, and that it is typed."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from mlx_hub.inference.v1.completion_pb2 import Completion
from mlx_hub.inference.v1.generation_pb2 import GenerateEvent, TextDelta
from mlx_hub.registry.v1.model_pb2 import Model
from mlx_hub.registry.v1.registry_service_pb2 import ListModelsResponse

from tests.fixtures.scripted_hub import serving

PROGRAM = """
import asyncio
import sys

from mlx_hub.client import AsyncHub, Hub, HubError, TokenStream
from mlx_hub.registry.v1.model_pb2 import Model


def names(hub: Hub) -> list[str]:
    return [model.name for model in hub.models.list(name_prefix="t")]


def spoken(stream: TokenStream) -> int:
    print("".join(stream))
    return stream.completion.tokens


async def one(address: str) -> Model:
    async with AsyncHub(address) as hub:
        return await hub.models.get(7)


def main(address: str) -> None:
    with Hub(address) as hub:
        print(names(hub), spoken(hub.stream(7, "Hello")))
        try:
            hub.jobs.get(1)
        except HubError as error:
            print(error.code.name, error.reason or "-")
    print(asyncio.run(one(address)).id)
    print(sorted({"mlx", "mlx_lm", "sqlalchemy", "mlflow", "numpy"} & set(sys.modules)))


if __name__ == "__main__":
    main(sys.argv[1])
"""
WRONG = """
from mlx_hub.client import Hub

hub = Hub()
hub.models.get("seven")
hub.models.get(7).nmae
hub.generate(7, temprature=1.0)
"""


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env={},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_holds_the_stubs_the_client_and_the_command_and_is_typed(client_wheel: Path) -> None:
    names = set(zipfile.ZipFile(client_wheel).namelist())
    assert {"mlx_hub/client/__init__.py", "mlx_hub/cli/main.py"} <= names
    assert "mlx_hub/registry/v1/registry_service_pb2.pyi" in names
    assert "mlx_hub/__init__.py" not in names
    code = [Path(name).parts for name in names if ".dist-info" not in name]
    assert {parts[0] for parts in code} == {"mlx_hub", "buf"}
    packages = {"/".join(parts[:2]) for parts in code if parts[0] == "mlx_hub" and parts[2:]}
    assert {f"{package}/py.typed" for package in {"mlx_hub", "buf", *packages}} <= names


def test_it_works_alone(client_python: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    with serving() as hub:
        hub.on["ListModels"] = lambda _: ListModelsResponse(models=[Model(name="triage")])
        hub.on["GetModel"] = lambda request: Model(id=request.model_id)
        hub.on["StreamGenerate"] = lambda _: [
            GenerateEvent(delta=TextDelta(text="Hi")),
            GenerateEvent(completion=Completion(text="Hi", tokens=1)),
        ]
        done = run(client_python, "-I", "program.py", hub.address, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Hi", "['triage'] 1", "UNIMPLEMENTED -", "7", "[]"]
    helped = run(client_python.with_name("mlx-hub"), "--help", cwd=tmp_path)
    assert helped.returncode == 0, helped.stderr
    # What the environment does not hold can't have been used.
    missing = run(client_python, "-I", "-c", "import mlx_hub.cli.demo, mlx", cwd=tmp_path)
    assert "No module named 'mlx'" in missing.stderr


@pytest.fixture(scope="module")
def checked(client_python: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Let mypy read both programs against the installed wheel, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("typed")
    (folder / "program.py").write_text(PROGRAM)
    (folder / "wrong.py").write_text(WRONG)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-pretty")
    python = ("--python-executable", client_python)
    return run(*mypy, *python, "program.py", "wrong.py", cwd=folder).stdout


def test_a_typed_program_is_checked_against_it(checked: str) -> None:
    found = [line for line in checked.splitlines() if "error:" in line]
    assert [line.partition(": error:")[0] for line in found] == [
        "wrong.py:5",
        "wrong.py:6",
        "wrong.py:7",
    ], checked
    assert "incompatible type" in found[0]
    assert 'has no attribute "nmae"' in found[1]
    assert "temprature" in found[2]
