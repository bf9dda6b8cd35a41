"""What the command line passes on, and what it says of mistakes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from mlx_hub.cli.main import app
from mlx_hub.cli.recipe import _OPTIONS
from mlx_hub.inference.v1.generation_pb2 import (
    ChatMessage,
    GenerateRequest,
)
from mlx_hub.inference.v1.tools_pb2 import Choice
from mlx_hub.registry.v1 import model_messages_pb2 as models_pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from mlx_hub.trainer.v1.training_job_pb2 import (
    TrainingMethod,
    TrainingSchedule,
)
from mlx_hub.trainer.v1.training_request_pb2 import CreateTrainingJobRequest
from typer.testing import CliRunner, Result

from services.chassis import errors as served
from tests.fixtures.scripted_answers import answering
from tests.fixtures.scripted_hub import ScriptedHub


@pytest.fixture
def hub() -> Iterator[ScriptedHub]:
    with answering() as hub:
        yield hub


def run(hub: ScriptedHub, *args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["--address", hub.address, *args], input=stdin)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (served.Invalid("INVALID_FIELD", "no", field="name"), 2),
        (served.NotFound("MODEL_NOT_FOUND", "no"), 3),
        (served.AlreadyExists("NAME_TAKEN", "no"), 4),
        (served.Exhausted("DISK_FULL", "no"), 6),
        (served.Internal("INTERNAL", "no"), 1),
    ],
)
def test_errors_are_one_line_with_the_exit_code_of_their_kind(
    hub: ScriptedHub, error: served.HubError, code: int
) -> None:
    hub.on["CreateModel"] = lambda _: error
    result = run(hub, "models", "create", "m", "--base-model", "b")
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.count("\n") == 1 and error.reason in result.stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["modles", "list"], 2, "Did you mean 'models'?"),
        (["models", "show", "99999999999"], 2, "out of range"),
        (["models", "create", "m", "--base-model", "b", "--tag", "x"], 2, "KEY=VALUE"),
        (["models", "update", "m", "--tag", "a=b", "--no-tags"], 2, "not both"),
        (["versions", "promote", "m"], 2, "say which version"),
        (["datasets", "upload", "d", "missing.jsonl"], 2, "does not exist"),
        (["generate", "m", "x", "--raw", "--system", "y"], 2, "--raw"),
        (["models", "show", "nobody"], 3, "there is no model named 'nobody'"),
        (["--address", "127.0.0.1:1", "status"], 5, "no hub answers at 127.0.0.1:1"),
    ],
)
def test_mistakes_are_told_apart(
    hub: ScriptedHub, args: list[str], code: int, message: str
) -> None:
    result = run(hub, *args)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_options_reach_the_hub_under_their_own_names(hub: ScriptedHub) -> None:
    run(hub, "jobs", "submit", "m", "d", "--lora-rank", "4", "--no-mask-prompt", "--seed", "0")
    job = hub.requests[-1]
    job.request_id = ""
    expected = CreateTrainingJobRequest(
        model_id=1, dataset_id=2, lora_rank=4, mask_prompt=False, seed=0
    )
    assert job == expected
    words = "--method dora --target-key q_proj --target-key v_proj --schedule cosine --grad-clip 1"
    run(hub, "jobs", "submit", "m", "d", *words.split())
    job = hub.requests[-1]
    job.request_id = ""
    expected = CreateTrainingJobRequest(
        model_id=1,
        dataset_id=2,
        method=TrainingMethod.TRAINING_METHOD_DORA,
        target_keys=["q_proj", "v_proj"],
        schedule=TrainingSchedule.TRAINING_SCHEDULE_COSINE,
        grad_clip=1,
    )
    assert job == expected
    run(hub, "models", "update", "m", "--description", "", "--json")
    mask = FieldMask(paths=["description"])
    changed = models_pb.UpdateModelRequest(model_id=1, update_mask=mask, description="")
    assert hub.requests[-1] == changed
    run(hub, "versions", "promote", "m@latest")
    promoted = versions_pb.PromoteVersionRequest(model_id=1, version="latest", alias="champion")
    assert hub.requests[-1] == promoted
    run(hub, "generate", "m:2", "hi", "--top-k", "3", "--stop", "a", "--stop", "b", "--json")
    turn = ChatMessage(role="user", content="hi")
    asked = GenerateRequest(model_id=1, version="2", messages=[turn], top_k=3, stop=["a", "b"])
    assert hub.requests[-1] == asked
    run(hub, "generate", "m:2", "hi", "--choice", "a", "--choice", "b", "--json")
    asked = GenerateRequest(
        model_id=1, version="2", messages=[turn], choice=Choice(options=["a", "b"])
    )
    assert hub.requests[-1] == asked
    run(hub, "--caller", "ann", "generate", "m:2", "hi")
    assert hub.metadata[-1]["x-mlx-hub-caller"] == "ann"


def test_an_answer_is_held_to_one_thing(hub: ScriptedHub, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    run(hub, "generate", "m", "hi", "--schema", str(schema), "--json")
    turn = ChatMessage(role="user", content="hi")
    asked = GenerateRequest(model_id=1, messages=[turn], response_schema='{"type": "object"}')
    assert hub.requests[-1] == asked
    for other in (("--regex", "a"), ("--schema", "nowhere.json")):
        assert run(hub, "generate", "m", "hi", "--choice", "a", *other).exit_code == 2


def test_a_recipe_has_an_option_for_each_of_its_fields() -> None:
    fields = set(CreateTrainingJobRequest.DESCRIPTOR.fields_by_name)
    assert set(_OPTIONS) == fields - {"model_id", "dataset_id", "request_id"}
