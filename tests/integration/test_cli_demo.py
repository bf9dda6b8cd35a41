"""`mlx-hub demo` and the examples of the client's README, on a scripted hub."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import mlx_hub.client
import pytest
from mlx_hub.cli.demo import DemoFailed, run_demo
from mlx_hub.cli.main import app
from mlx_hub.client import Hub
from mlx_hub.inference.v1.completion_pb2 import Completion
from mlx_hub.inference.v1.generation_pb2 import GenerateEvent
from mlx_hub.registry.v1 import dataset_service_pb2 as datasets_pb
from mlx_hub.registry.v1 import registry_service_pb2 as registry
from mlx_hub.registry.v1.dataset_pb2 import Dataset
from mlx_hub.registry.v1.model_pb2 import Model
from rich.console import Console
from typer.testing import CliRunner, Result

from tests.fixtures.scripted_answers import answering
from tests.fixtures.scripted_hub import ScriptedHub
from tests.fixtures.scripted_jobs import QUEUED
from tests.integration.test_client_downloads import pieces, serve, sha256


@pytest.fixture
def hub() -> Iterator[ScriptedHub]:
    with answering() as hub:
        yield hub


def run(hub: ScriptedHub, *args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["--address", hub.address, *args], input=stdin)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_demo_shows_the_whole_path_and_reuses_what_is_there(
    hub: ScriptedHub, terminal: bool
) -> None:
    out = StringIO()
    ui = Console(file=out, force_terminal=terminal, width=120)
    hub.on["CreateModel"] = lambda request: Model(id=1, name=request.name)
    with Hub(hub.address) as client:
        result = run_demo(client, base_model="base", dataset_path="sub/d.jsonl", ui=ui)
    assert result.base_answer.text == "answer of base"
    assert result.trained_answer.text == "answer of 2"
    shown = (
        "made model",
        "found dataset",
        "loss over steps",
        "An apple.",
        "adapters",
        "calls_total",
    )
    for words in shown:
        assert words in out.getvalue()


def test_the_demo_fails_when_training_failed_or_changed_nothing(hub: ScriptedHub) -> None:
    ui = Console(file=StringIO(), width=100)
    with Hub(hub.address) as client:
        hub.on["StreamGenerate"] = lambda _: [GenerateEvent(completion=Completion(text="same"))]
        with pytest.raises(DemoFailed, match="learned nothing"):
            run_demo(client, base_model="base", dataset_path="d.jsonl", ui=ui)
        hub.on["GetTrainingJob"] = lambda _: QUEUED
        with pytest.raises(DemoFailed, match="job 3 is queued"):
            run_demo(client, base_model="base", dataset_path="d.jsonl", ui=ui)


def test_the_examples_of_the_readme_run(
    hub: ScriptedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    serve(hub)
    rows = Dataset(id=2, name="tickets", size_bytes=2, checksum=sha256(b"{}"))
    hub.on["GetDataset"] = lambda _: rows
    hub.on["GetDatasetFile"] = lambda _: pieces(b"{}")
    hub.on["ListModels"] = lambda request: registry.ListModelsResponse(
        models=[Model(id=1, name=request.name_prefix)]
    )
    hub.on["ListDatasets"] = lambda request: datasets_pb.ListDatasetsResponse(
        datasets=[Dataset(id=2, name=request.name_prefix)]
    )
    hub.on["Generate"] = lambda _: Completion(text="there was")
    readme = Path(mlx_hub.client.__file__).parents[2] / "README.md"
    blocks = re.findall(r"```(\w+)\n(.*?)```", readme.read_text(), re.DOTALL)
    *programs, commands = blocks
    assert [kind for kind, _ in blocks] == ["python", "python", "python", "sh"]
    for _, code in programs:
        python = [sys.executable, "-c", code]
        environment = {**os.environ, "MLX_HUB_ADDRESS": hub.address}
        done = subprocess.run(python, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for line in commands[1].splitlines():
        result = run(hub, *shlex.split(line)[1:])
        assert result.exit_code == 0, result.output
