from io import StringIO
from typing import Any

import pytest
from mlx_hub.cli.bench import Sample, summary
from mlx_hub.cli.curve import Curve, outcome, sparkline
from mlx_hub.cli.demo import moved
from mlx_hub.cli.live import follow
from mlx_hub.cli.notes import note
from mlx_hub.cli.plot import print_losses
from mlx_hub.cli.session import split_version
from mlx_hub.cli.system import parse_metrics
from mlx_hub.registry.v1.evaluation_pb2 import EVALUATION_SPLIT_TEST
from mlx_hub.trainer.v1.training_event_pb2 import (
    EVALUATED_WEIGHTS_VERSION,
    THERMAL_PRESSURE_HEAVY,
    CheckpointSaved,
    CooldownBegan,
    CooldownEnded,
    EvaluationResult,
    LearningRateLowered,
    TrainingEvent,
    TrainingStep,
    ValidationResult,
    WeightsKept,
)
from mlx_hub.trainer.v1.training_job_pb2 import JobError, JobStatus, TrainingJob
from rich.console import Console

VERSION, TEST = EVALUATED_WEIGHTS_VERSION, EVALUATION_SPLIT_TEST


def step(number: int, loss: float, attempt: int = 1, **told: Any) -> TrainingEvent:
    shown = TrainingStep(step=number, total_steps=10, loss=loss, tokens_per_second=50, **told)
    return TrainingEvent(attempt=attempt, step=shown)


def test_the_curve_says_where_the_job_is() -> None:
    curve = Curve()
    for event in (step(1, 3.0), step(2, 2.5), step(4, 2.0, eta_seconds=12)):
        curve.add(event)
    curve.add(TrainingEvent(attempt=1, validation=ValidationResult(step=4, val_loss=2.1)))
    assert curve.numbers() == "step 4/10  loss 2.000  val loss 2.100  50 tok/s  ETA 0:12"
    told: dict[str, Any] = {
        "learning_rate": 1e-4,
        "peak_memory_bytes": 1.5e9,
        "eta_seconds": 3661.0,
    }
    curve.add(step(5, 2.0, smoothed_loss=2.25, epoch=2, **told))
    assert curve.numbers() == (
        "step 5/10  epoch 2  loss 2.000  smoothed 2.250  val loss 2.100  rate 0.0001  50 tok/s"
        "  1.5 GB  ETA 1:01:01"
    )


def test_a_second_attempt_overwrites_its_steps() -> None:
    curve = Curve()
    for event in (step(1, 3.0), step(2, 2.5), step(3, 2.4, eta_seconds=7)):
        curve.add(event)
    curve.add(step(2, 2.6, attempt=2))
    curve.add(step(3, 2.3, attempt=2))
    assert curve.train == pytest.approx({1: 3.0, 2: 2.6, 3: 2.3})
    assert curve.eta is None


def test_a_run_that_goes_back_forgets_the_steps_behind() -> None:
    curve = Curve()
    for event in (step(1, 3.0), step(2, 2.5), step(3, 9.9)):
        curve.add(event)
    lowered = LearningRateLowered(step=4, resumed_from_step=2, factor=0.5)
    event = TrainingEvent(attempt=1, learning_rate_lowered=lowered)
    curve.add(event)
    assert curve.numbers() == "step 2/10  loss 2.500  50 tok/s"
    assert note(event) == "step 4 was not finite: back to step 2, learning rate times 0.5"


def test_an_early_stop_fills_the_bar() -> None:
    curve = Curve()
    curve.add(step(4, 3.0))
    kept = WeightsKept(step=4, kept_step=2, val_loss=1.5, stopped_early=True)
    event = TrainingEvent(attempt=1, weights_kept=kept)
    curve.add(event)
    assert curve.numbers() == "step 4/4  loss 3.000  50 tok/s"
    assert note(event) == "stopped early at step 4, kept the weights of step 2, val loss 1.500"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"weights_kept": WeightsKept(step=9, kept_step=9, val_loss=1)}, "kept the weights of"),
        ({"cooldown_began": CooldownBegan(step=5, celsius=96.4)}, "paused to cool down, 96 °C"),
        (
            {"cooldown_began": CooldownBegan(step=5, pressure=THERMAL_PRESSURE_HEAVY)},
            "paused to cool down, thermal pressure heavy",
        ),
        ({"cooldown_ended": CooldownEnded(step=5, seconds=9.6)}, "step 5  paused for 10 s, cool"),
        ({"cooldown_ended": CooldownEnded(step=5, seconds=9, still_hot=True)}, "still hot"),
    ],
)
@pytest.mark.parametrize("terminal", [True, False])
def test_what_guards_do_is_shown(
    terminal: bool, fields: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = StringIO()
    follow([step(1, 3.0), TrainingEvent(**fields)], Console(file=out, force_terminal=terminal))
    assert line in out.getvalue()


def test_a_job_that_was_running_shows_its_progress_before_the_first_event() -> None:
    job = TrainingJob(id=3, status=JobStatus.JOB_STATUS_RUNNING)
    job.progress.step, job.progress.total_steps, job.progress.eta_seconds = 5, 9, 60
    curve = Curve()
    assert curve.numbers() == "before the first step"
    curve.add(TrainingEvent(job=job))
    assert curve.numbers() == "step 5/9  ETA 1:00"


def test_sparklines_scale_and_squeeze() -> None:
    assert sparkline({}, 10) == ""
    assert sparkline({1: 2.0}, 10) == "▁"
    assert sparkline({step: float(step) for step in range(8)}, 20) == "▁▂▃▄▅▆▇█"
    assert len(sparkline({step: float(step) for step in range(100)}, 20)) == 20


@pytest.mark.parametrize("terminal", [True, False])
def test_following_and_plotting_work_with_and_without_a_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = StringIO()
    ui = Console(file=out, force_terminal=terminal, width=100)
    done = TrainingJob(id=3, status=JobStatus.JOB_STATUS_COMPLETED)
    found = EvaluationResult(which=VERSION, split=TEST, loss=0.5, perplexity=1.6487, rows=16)
    scored = TrainingEvent(evaluation=found)
    follow([step(1, 3.0), step(2, 2.0), scored, TrainingEvent(job=done)], ui)
    assert "version on 16 test rows  loss 0.500  perplexity 1.649" in out.getvalue()
    found.ClearField("perplexity")
    assert note(TrainingEvent(evaluation=found)) == "version on 16 test rows  loss 0.500"
    other = [TrainingEvent(checkpoint=CheckpointSaved(step=2)), TrainingEvent(sequence=7)]
    curve = follow([step(1, 3.0), step(2, 2.0), *other, TrainingEvent(job=done)], ui)
    assert "step 2  checkpoint saved" in out.getvalue()
    assert "event 7 is of a kind that this program does not know" in out.getvalue()
    print_losses(curve, ui)
    print_losses(Curve(), ui)
    assert "loss over steps" in out.getvalue()
    assert "step 2/10" in out.getvalue()
    assert ("\x1b[" in out.getvalue()) is terminal


def test_an_event_without_words_of_its_own_is_told_by_its_fields() -> None:
    """As new kinds are: what stands here for one is a step."""
    event = step(4, 2.0, learning_rate=0.25)
    assert note(event) == "step 4  step  total steps 10  loss 2  learning rate 0.25  " + (
        "tokens per second 50"
    )


def test_the_outcome_tells_why_a_job_failed() -> None:
    error = JobError(reason="OUT_OF_MEMORY", message="no room")
    job = TrainingJob(id=3, status=JobStatus.JOB_STATUS_FAILED, error=error)
    assert outcome(job) == "job 3 is failed: no room [OUT_OF_MEMORY]"


def test_metrics_that_moved_are_summed_by_name_without_noise() -> None:
    text = '# HELP a b\na_total{x="1 2"} 1\na_total{x="3"} 2.5\na_bucket{le="1"} 9\n'
    before = parse_metrics(text + "python_gc 1\nsame 4\n")
    after = parse_metrics(text.replace("2.5", "4") + "python_gc 2\nsame 4\nnew 1\n")
    assert moved(before, after) == [("a_total", 3.5, 5.0), ("new", 0.0, 1.0)]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [("m", ("m", "x")), ("m:3", ("m", "3")), ("m@champion", ("m", "champion")), ("m:", ("m", ""))],
)
def test_references_name_a_version_or_an_alias(reference: str, expected: tuple[str, str]) -> None:
    assert split_version(reference, default="x") == expected


def test_a_bench_sums_up_its_answers() -> None:
    told = summary([Sample(3, 5, (0.1, 0.2, 0.4)), Sample(1, 5, (0.3,)), Sample(0, 5, ())], 2.0)
    assert (told["tokens"], told["prompt_tokens"], told["tokens_per_second"]) == (4, 15, 2.0)
    assert told["ttft_ms_p50"] == pytest.approx(100) and told["ttft_ms_p99"] == pytest.approx(300)
    assert told["gap_ms_p50"] == pytest.approx(100)
    assert "gap_ms_p50" not in summary([Sample(1, 5, (0.3,))], 1.0)
