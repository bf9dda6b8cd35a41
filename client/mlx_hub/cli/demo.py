"""The main job from a model's name to a better answer, through the public API alone."""

import time
from dataclasses import dataclass
from pathlib import PurePosixPath

from mlx_hub.cli.curve import Curve, outcome
from mlx_hub.cli.live import follow
from mlx_hub.cli.output import literal, size
from mlx_hub.cli.samples import print_samples
from mlx_hub.cli.system import health_lines, parse_metrics
from mlx_hub.cli.tree import show_lineage
from mlx_hub.cli.why import show_generation
from mlx_hub.client import Hub, HubError, NotFound
from mlx_hub.inference.v1.completion_pb2 import Completion
from mlx_hub.registry.v1.dataset_pb2 import Dataset
from mlx_hub.registry.v1.model_pb2 import Model
from mlx_hub.registry.v1.version_pb2 import ModelVersion
from mlx_hub.trainer.v1.training_job_pb2 import JobStatus, TrainingJob
from rich.console import Console
from rich.table import Table

LORA_RANK = 8
LORA_LAYERS = 16
LEARNING_RATE = 2e-4
EPOCHS = 1
BATCH_SIZE = 2
MAX_SEQ_LENGTH = 128
SEED = 42

#: In the manner of the example data, but not in it.
QUESTION = "The whole team has been locked out of their accounts since nine o'clock."
MAX_TOKENS = 40

_NOISE = ("python_", "process_")
_METRIC_ROWS = 20


class DemoFailed(HubError):
    """The demo ran, but did not show what it is there to show."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made."""

    model: Model
    dataset: Dataset
    job: TrainingJob
    version: ModelVersion
    curve: Curve
    base_answer: Completion
    trained_answer: Completion


def run_demo(
    hub: Hub, *, base_model: str, dataset_path: str, ui: Console, question: str = QUESTION
) -> DemoResult:
    """Train a version and show how it differs from its base model.

    `dataset_path` is relative to the dataset root, and the file's stem is the dataset's name:
    put a hash into it, so that changed data is new data. Raises HubError when a step fails.
    """
    before = parse_metrics(hub.metrics())
    model = _model(hub, base_model, ui)
    dataset = _dataset(hub, dataset_path, ui)
    job, curve = _train(hub, model, dataset, ui)
    version = _version(hub, job, ui)
    _show_findings(hub, version, ui)
    base_answer = _ask(hub, model, "base", question, ui)
    trained_answer = _ask(hub, model, str(version.version), question, ui)
    _title(ui, "Where the version comes from")
    show_lineage(hub.models.lineage(model.id, version.version), ui)
    _show_hub(hub, before, ui)
    asked = trained_answer.generation_id
    _title(ui, f"Where its answer comes from: mlx-hub why {asked}")
    show_generation(hub.generations.get(asked), ui)
    if base_answer.text.strip() == trained_answer.text.strip():
        raise DemoFailed("the version answers exactly as its base model does: it learned nothing")
    return DemoResult(model, dataset, job, version, curve, base_answer, trained_answer)


def _title(ui: Console, text: str) -> None:
    ui.print(literal(f"\n== {text}", style="bold"))


def _model(hub: Hub, base_model: str, ui: Console) -> Model:
    _title(ui, "A model over the base model")
    name = f"demo-{base_model}"[:100]
    try:
        model, verb = hub.models.find(name), "found"
    except NotFound:
        model, verb = hub.models.create(name, base_model, description="Made by the demo."), "made"
    ui.print(literal(f"{verb} model {model.id} {model.name} over {model.base_model}"))
    return model


def _dataset(hub: Hub, path: str, ui: Console) -> Dataset:
    _title(ui, "A dataset")
    name = PurePosixPath(path).stem
    try:
        dataset, verb = hub.datasets.find(name), "found"
    except NotFound:
        dataset, verb = hub.datasets.create(name, path), "made"
    about = f"{dataset.rows} rows, {size(dataset.size_bytes)}, sha256 {dataset.checksum}"
    ui.print(literal(f"{verb} dataset {dataset.id} {dataset.name}: {about}"))
    return dataset


def _train(hub: Hub, model: Model, dataset: Dataset, ui: Console) -> tuple[TrainingJob, Curve]:
    _title(ui, "Training a LoRA adapter")
    queued = hub.jobs.create(
        model.id,
        dataset.id,
        lora_rank=LORA_RANK,
        lora_layers=LORA_LAYERS,
        learning_rate=LEARNING_RATE,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        max_seq_length=MAX_SEQ_LENGTH,
        seed=SEED,
    )
    curve = follow(hub.jobs.watch(queued.id, after_sequence=0), ui)
    job = hub.jobs.get(queued.id)
    if job.status != JobStatus.JOB_STATUS_COMPLETED:
        raise DemoFailed(outcome(job))
    from mlx_hub.cli.plot import print_losses  # noqa: PLC0415  plotext is slow to load

    print_losses(curve, ui)
    return job, curve


def _version(hub: Hub, job: TrainingJob, ui: Console) -> ModelVersion:
    _title(ui, "A new version")
    version = hub.models.version(job.model_id, job.version)
    metrics = ", ".join(f"{name} {value:.3f}" for name, value in sorted(version.metrics.items()))
    ui.print(literal(f"version {version.version}: {size(version.size_bytes)}, {metrics}"))
    ui.print(literal(f"checksum {version.checksum}"))
    return version


def _show_findings(hub: Hub, version: ModelVersion, ui: Console) -> None:
    """Show what the job recorded of base model and version: scores and answers on held-out rows."""
    _title(ui, "Before and after, on rows that the training held out")
    table = Table("metric", "before", "after", box=None, pad_edge=False)
    for series in hub.quality.trend(version.model_id).series:
        of_version = [point.value for point in series.points if point.version == version.version]
        if of_version and series.HasField("base_value"):
            row = (literal(series.metric), f"{series.base_value:.4g}", f"{of_version[0]:.4g}")
            table.add_row(*row)
    ui.print(table)
    print_samples(hub.quality.samples(version.model_id, version.version).samples, ui)


def _ask(hub: Hub, model: Model, version: str, question: str, ui: Console) -> Completion:
    who = "The base model" if version == "base" else f"Version {version}"
    _title(ui, f"{who} is asked: {question}")
    start = time.monotonic()
    first = None
    with hub.stream(
        model.id,
        messages=[{"role": "user", "content": question}],
        version=version,
        max_tokens=MAX_TOKENS,
        temperature=0.0,
    ) as stream:
        for text in stream:
            first = first or time.monotonic() - start
            ui.print(literal(text), end="", soft_wrap=True)
    answer = stream.completion
    took = f"{answer.tokens} tokens in {time.monotonic() - start:.1f} s"
    ui.print(literal(f"\n({took}, first after {first or 0:.2f} s)", style="dim"))
    return answer


def _show_hub(hub: Hub, before: dict[str, float], ui: Console) -> None:
    _title(ui, "Health")
    for line in health_lines(hub.health()):
        ui.print(literal(line))
    _title(ui, "Metrics that moved")
    rows = moved(before, parse_metrics(hub.metrics()))
    table = Table("metric", "before", "after", box=None, pad_edge=False)
    for name, old, new in rows[:_METRIC_ROWS]:
        table.add_row(literal(name), f"{old:g}", f"{new:g}")
    ui.print(table)
    if (more := len(rows) - _METRIC_ROWS) > 0:
        ui.print(literal(f"and {more} more; `mlx-hub metrics` prints all"))


def moved(before: dict[str, float], after: dict[str, float]) -> list[tuple[str, float, float]]:
    """The hub's own metrics that changed, each summed over its labels."""
    old, new = _by_name(before), _by_name(after)
    return [
        (name, old.get(name, 0.0), value)
        for name, value in sorted(new.items())
        if value != old.get(name, 0.0)
    ]


def _by_name(samples: dict[str, float]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for series, value in samples.items():
        name = series.partition("{")[0]
        if not name.startswith(_NOISE) and not name.endswith(("_bucket", "_created")):
            sums[name] = sums.get(name, 0.0) + value
    return sums
