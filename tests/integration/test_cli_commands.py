import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlx_hub.cli.main import app, main
from mlx_hub.registry.v1.provenance_service_pb2 import Verification
from mlx_hub.registry.v1.version_sample_pb2 import ListVersionSamplesResponse
from mlx_hub.system.v1.system_service_pb2 import Health, ServingStatus
from mlx_hub.trainer.v1 import trainer_service_pb2 as trainer
from mlx_hub.trainer.v1.replay_pb2 import ReplayDifference, ReplayOutcome, ReplayVerdict
from mlx_hub.trainer.v1.training_job_pb2 import (
    JobError,
    JobStatus,
    TrainingJob,
)
from typer.testing import CliRunner, Result

from services.chassis.errors import Unavailable
from tests.fixtures.scripted_answers import answering
from tests.fixtures.scripted_hub import ScriptedHub


@pytest.fixture
def hub() -> Iterator[ScriptedHub]:
    with answering() as hub:
        yield hub


def run(hub: ScriptedHub, *args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["--address", hub.address, *args], input=stdin)


TRIAGE = Path(__file__).resolve().parents[2] / "examples" / "ticket-triage.jsonl"
VERBS = {
    "models list": ["id", "name"],
    "models create m --base-model base --tag a=b": ["id", "tags"],
    "models update m --description new --tag a=b": ["id", "tags"],
    "models update m --no-tags": ["id", "tags"],
    "models delete m --force": [],
    "models show m": ["id", "base_model"],
    "models show 1": ["id", "base_model"],
    "models history m": ["details"],
    "models versions m": ["version", "checksum"],
    "models lineage m:2": ["files", "base_model"],
    "models base": ["digest"],
    "versions promote m:2 --alias challenger": ["version", "checksum"],
    "versions rollback m": ["version", "checksum"],
    "versions unalias m challenger": [],
    "versions archive m:2": ["version", "checksum"],
    "versions restore m@latest": ["version", "checksum"],
    "versions samples m:2": ["samples", "version"],
    "quality record m:base --metric bleu --value -2.5 --dataset d --split test --how a=b": ["how"],
    "quality list m --version base --metric bleu --dataset 2": ["metric", "value"],
    "quality trend m --metric val_loss --dataset d": ["series", "truncated"],
    "quality gate m": ["metric", "tolerance"],
    "quality set-gate m --metric bleu --direction higher --dataset d --split all --alias x": [
        "direction"
    ],
    "quality clear-gate m": [],
    "lineage m": ["files", "base_model"],
    "verify m:2": ["intact", "checks"],
    "datasets list": ["rows"],
    "datasets create d d.jsonl": ["path"],
    "datasets show d": ["rows"],
    "datasets report d --model m --batch-size 2": ["rows", "warnings"],
    f"datasets upload d {TRIAGE}": ["rows", "checksum"],
    "datasets delete d": [],
    "jobs submit m d --epochs 2 --no-mask-prompt": ["status"],
    "jobs forecast m d --batch-size 2 --method dora": ["forecast", "fits_now", "advice"],
    "jobs submit m d --no-evaluate --sample-prompt hi --sample-tokens 9": ["status"],
    "jobs list --model m --status running": ["status"],
    "jobs show 3": ["status", "version"],
    "jobs cancel 3": ["status"],
    "jobs retry 3": ["status"],
    "generate m hello": ["text", "tokens"],
    "bench m --streams 2 --requests 5": ["tokens_per_second", "ttft_ms_p99", "gap_ms_p50"],
    "why chatcmpl-1": ["outcome", "request", "lineage"],
    "generations m:base --outcome failed --limit 2": ["generation_id", "error_reason"],
    "generate m hello --no-cache-prompt --cache-salt mine": ["text", "tokens"],
    "cache": ["engines", "disk_bytes"],
    "cache clear --model m": ["blocks", "bytes"],
    "engines": ["engines", "memory", "suspects"],
    "load m:2 --pin --keep-alive 60": ["state", "pinned"],
    "unload m --force": [],
    "status": ["services", "status"],
    "metrics": ["calls_total"],
    "doctor": ["verdict", "findings", "storage", "engines"],
    "doctor --reconcile": ["verdict", "findings", "storage", "engines"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_prints_for_people_and_for_programs(hub: ScriptedHub, verb: str) -> None:
    plain = run(hub, *verb.split())
    assert (plain.exit_code, bool(plain.stdout.strip())) == (0, True), plain.output
    result = run(hub, *verb.split(), "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert set(VERBS[verb]) <= set(value[0] if isinstance(value, list) else value)


def test_the_doctor_examines_what_it_can_reach(hub: ScriptedHub) -> None:
    shown = run(hub, "doctor").stdout
    for text in ("third has none: it is broken", "there is no base model bsae", "small for base"):
        assert text in " ".join(shown.split())
    hub.on["ListEngines"] = lambda _: Unavailable("DEPENDENCY_UNAVAILABLE", "inference is away")
    without = json.loads(run(hub, "doctor", "--json").stdout)
    assert without["engines"] is None
    assert not [each for each in without["findings"] if each["subject"] in ("engine", "draft")]


def test_the_cache_is_cleared_for_all_or_one_base_model(hub: ScriptedHub) -> None:
    assert json.loads(run(hub, "cache", "clear", "--json").stdout)["blocks"] == 0
    assert json.loads(run(hub, "cache", "clear", "--model", "m", "--json").stdout)["blocks"] == 1
    assert "on disk in all: 0 B of 0 B" in run(hub, "cache").stdout


def test_a_trend_is_a_table_and_a_curve(hub: ScriptedHub) -> None:
    shown = run(hub, "quality", "trend", "m").stdout
    assert "val_loss on dataset 2 (valid), lower is better, base 2\n" in shown
    rows = [line.split() for line in shown.splitlines()[2:4]]
    assert rows == [["1", "0.75", "-1.25"], ["2", "0.5", "-0.25", "better", "-1.5", "latest"]]
    assert "val_loss over versions" in shown
    assert shown.endswith("older versions were left out; see --versions\n")
    evaluated = hub.requests[-1]
    assert run(hub, "quality", "record", "m", "--metric", "b", "--value", "1").exit_code == 2
    assert hub.requests[-1] is evaluated, "half an evaluation is not sent"


def test_samples_stand_side_by_side(hub: ScriptedHub) -> None:
    lines = run(hub, "versions", "samples", "m@latest").stdout.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "1. Name a fruit.",
        "BEFORE AFTER",
        "What do you mean… An apple.",
    ]
    assert hub.requests[-1].version == "latest"
    hub.on["ListVersionSamples"] = lambda _: ListVersionSamplesResponse(version=2)
    assert "asked for no samples" in run(hub, "versions", "samples", "m:2").stdout


def test_verifying_a_damaged_version_exits_1(hub: ScriptedHub) -> None:
    hub.on["VerifyVersion"] = lambda request: Verification(model_name="m", version=2)
    for words in (["verify", "m:2"], ["verify", "m@champion", "--json"]):
        assert run(hub, *words).exit_code == 1
    assert hub.requests[-1].version == "champion"
    assert "m:2 is NOT intact" in run(hub, "verify", "m").stdout


def test_watching_prints_events_as_lines_and_then_the_version(hub: ScriptedHub) -> None:
    lines = run(hub, "jobs", "watch", "3", "--json").stdout.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [0, 1, 2, 3, 4, 5]
    result = run(hub, "jobs", "submit", "m", "d", "--watch")
    assert "step 3/3  epoch 1  loss 0.000" in result.stdout
    assert "job 3 completed: version 2 of model 1" in result.stdout


def test_a_log_is_printed_whole_by_its_end_and_as_it_grows(hub: ScriptedHub) -> None:
    ways = {(): [1, 2, 3], ("--last", "2"): [2, 3], ("--follow",): [1, 2, 3]}
    for options, expected in ways.items():
        lines = run(hub, "jobs", "logs", "3", *options, "--json").stdout.splitlines()
        assert [json.loads(line)["sequence"] for line in lines] == expected
        shown = run(hub, "jobs", "logs", "3", *options).stdout.splitlines()
        assert len(shown) == len(expected)
        assert "attempt 1  worker   warning  line 3" in shown[-1]
    assert hub.requests[-1].after_sequence == 0
    run(hub, "jobs", "logs", "3", "--follow", "--last", "7")
    assert (hub.requests[-1].lines, hub.requests[-1].HasField("after_sequence")) == (7, False)


def test_watching_a_job_that_fails_exits_1(hub: ScriptedHub) -> None:
    error = JobError(reason="UNTRAINABLE", message="no rows")
    failed = TrainingJob(id=3, status=JobStatus.JOB_STATUS_FAILED, error=error)
    hub.on["GetTrainingJob"] = lambda _: failed
    result = run(hub, "jobs", "watch", "3")
    assert result.exit_code == 1
    assert result.stderr == "error: job 3 is failed: no rows [UNTRAINABLE]\n"


SAME = ReplayVerdict(outcome=ReplayOutcome.REPLAY_OUTCOME_SAME, original_digest="ab" * 32, steps=3)
PARTED = ReplayVerdict(
    outcome=ReplayOutcome.REPLAY_OUTCOME_DIFFERS,
    step=2,
    original_loss=0.5,
    replayed_loss=0.1,
    compared_steps=2,
    steps=3,
    differences=[ReplayDifference(name="mlx", then="0.7", now="0.8"), ReplayDifference(now="y")],
)
AFTER = ReplayVerdict(
    outcome=ReplayOutcome.REPLAY_OUTCOME_DIFFERS_AFTER_LAST_LOSS,
    differing_files=["adapters.safetensors"],
)


@pytest.mark.parametrize(
    ("verdict", "code", "told"),
    [
        (SAME, 0, ["replay of job 2: same: abababababab, 0 of 3", "are as they were"]),
        (
            PARTED,
            1,
            ["differs at step 2: loss 0.5 then, 0.1 now; 2 of 3", "0.7", "0.8", "not recorded"],
        ),
        (AFTER, 1, ["differs after the last loss, in adapters.safetensors"]),
    ],
)
def test_a_replay_is_watched_to_its_verdict(
    hub: ScriptedHub, verdict: ReplayVerdict, code: int, told: list[str]
) -> None:
    status = JobStatus.JOB_STATUS_COMPLETED
    done = TrainingJob(id=3, status=status, replay_of=2, verdict=verdict)
    hub.on["GetTrainingJob"] = lambda _: done
    for verb in (["jobs", "replay", "2"], ["jobs", "watch", "3"]):
        shown = run(hub, *verb)
        assert shown.exit_code == code
        assert all(words in shown.stdout for words in told), shown.stdout
    lines = run(hub, "jobs", "replay", "2", "--json")
    assert lines.exit_code == code
    assert len([json.loads(line) for line in lines.stdout.splitlines()]) == 6
    replays = [r for r in hub.requests if isinstance(r, trainer.ReplayTrainingJobRequest)]
    assert [r.job_id for r in replays] == [2, 2]


def test_a_retried_job_can_be_watched(hub: ScriptedHub) -> None:
    result = run(hub, "jobs", "retry", "3", "--watch")
    assert "job 3 completed: version 2 of model 1" in result.stdout
    assert any(isinstance(r, trainer.RetryTrainingJobRequest) for r in hub.requests)


def test_generating_streams_to_stdout_and_measures_on_stderr(hub: ScriptedHub) -> None:
    result = run(hub, "generate", "m@champion", "-", "--system", "be brief", stdin="hello")
    assert result.stdout == "answer of champion\n"
    assert "2 tokens" in result.stderr and "first after" in result.stderr
    assert result.stderr.endswith("; generation g7\n")
    request = hub.requests[-1]
    assert [turn.content for turn in request.messages] == ["be brief", "hello"]
    assert run(hub, "generate", "1", "hello", "--raw").exit_code == 0
    assert (hub.requests[-1].prompt, list(hub.requests[-1].messages)) == ("hello", [])


def test_a_piped_chat_takes_turns_and_commands(hub: ScriptedHub, tmp_path: Path) -> None:
    typed = f'hi\n/system be brief\n/save {tmp_path}/row\n//x\n/reset\n"""a\nb"""\n/quit\nlost\n'
    result = run(hub, "chat", "m:2", "--seed", "3", stdin=typed)
    assert result.exit_code == 0 and result.stdout == "answer of 2\n" * 3
    assert result.stderr.count("generation g7") == 3
    asked = [[t.content for t in r.messages] for r in hub.requests if hasattr(r, "messages")]
    assert asked == [["hi"], ["be brief", "hi", "answer of 2", "/x"], ["be brief", "a\nb"]]
    assert hub.requests[-1].seed == 3
    row = json.loads((tmp_path / "row").read_text())["messages"]
    assert [turn["role"] for turn in row] == ["system", "user", "assistant"]
    wrong = run(hub, "chat", "m", stdin="/rset\nhi\n")
    assert wrong.exit_code == 2 and "did you mean /reset?" in wrong.stderr


def test_verbs_of_other_distributions_come_by_entry_points(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    added: list[object] = []
    present = SimpleNamespace(name="up", load=lambda: added.append)
    absent = SimpleNamespace(name="down", load=lambda: import_module("no_such_module"))
    monkeypatch.setattr("mlx_hub.cli.main.entry_points", lambda group: [present, absent])
    monkeypatch.setattr("sys.argv", ["mlx-hub", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert added == [app]
    assert "warning: no down commands: No module named 'no_such_module'" in capsys.readouterr().err


def test_a_sick_hub_exits_5(hub: ScriptedHub) -> None:
    hub.on["GetHealth"] = lambda _: Health(status=ServingStatus.SERVING_STATUS_NOT_SERVING)
    assert run(hub, "status").exit_code == 5
