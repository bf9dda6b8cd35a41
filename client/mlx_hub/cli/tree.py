"""The lineage of a version as a tree."""

from collections.abc import Mapping

from mlx_hub.cli.output import console, literal, moment, short, size
from mlx_hub.registry.v1.lineage_pb2 import (
    AdapterFormat,
    AttemptOutcome,
    BaseModelRef,
    BasePin,
    DatasetRef,
    ImportProvenance,
    Lineage,
    TrainingAttempt,
    TrainingProvenance,
)
from rich.console import Console
from rich.tree import Tree


def lineage_tree(lineage: Lineage) -> Tree:
    """Draw what a version was made from."""
    data = lineage.dataset
    tree = Tree(literal(f"{lineage.model_name}:{lineage.version}  {moment(lineage.created_at)}"))
    adapter = tree.add(literal(f"adapter  {lineage.adapter_digest}"))
    for file in lineage.files:
        adapter.add(literal(f"{file.name}  {size(file.size_bytes)}  {short(file.sha256)}"))
    tree.add(literal(base_line(lineage.base_model)))
    if lineage.HasField("imported"):
        _add_import(tree, lineage.imported)
        return tree
    dataset = tree.add(literal(f"dataset {data.name}  {data.digest}"))
    dataset.add(literal(f"split  {_split(data)}"))
    _add_job(tree, lineage.training)
    return tree


def base_line(base: BaseModelRef) -> str:
    """Name a base model, its digest, and where it came from."""
    origin = f"  from {base.source} {base.source_revision}".rstrip() if base.source else ""
    return f"base model {base.name}  {base.digest}{origin}"


def show_lineage(lineage: Lineage, ui: Console | None = None) -> None:
    """Print the tree."""
    (ui or console()).print(lineage_tree(lineage))


_PINS = {
    BasePin.BASE_PIN_SOURCE: "pinned to this base model by its own files",
    BasePin.BASE_PIN_OPERATOR: "pinned to this base model by the operator",
    BasePin.BASE_PIN_NONE: "NOT pinned: that it was trained on this base model is not known",
}


def _add_import(tree: Tree, source: ImportProvenance) -> None:
    form = AdapterFormat.Name(source.format).removeprefix("ADAPTER_FORMAT_")
    run = tree.add(
        literal(
            f"imported from {source.source} ({form})  {moment(source.imported_at)}  "
            f"by {source.imported_by or 'nobody named'}"
        )
    )
    run.add(literal(_PINS[source.pin]))
    if source.stated_base:
        run.add(literal(f"its files name the base model {source.stated_base}"))
    files = run.add(literal("files"))
    for file in source.source_files:
        files.add(literal(f"{file.name}  {size(file.size_bytes)}  {short(file.sha256)}"))
    _add_facts(run, "environment", source.environment)


def _add_job(tree: Tree, job: TrainingProvenance) -> None:
    run = tree.add(
        literal(
            f"job {job.job_id}, attempt {job.attempt}, seed {job.seed}  "
            f"{moment(job.started_at)} to {moment(job.finished_at)}"
        )
    )
    if job.attempts:
        attempts = run.add(literal("attempts"))
        for attempt in job.attempts:
            attempts.add(literal(_attempt(attempt)))
    dirty = " with uncommitted changes" if job.code_dirty else ""
    run.add(literal(f"code  {job.code_commit or 'not a checkout'}{dirty}"))
    run.add(literal(f"requirements.lock  {job.lock_digest or 'none'}"))
    _add_facts(run, "parameters", job.parameters)
    _add_facts(run, "environment", job.environment)


def _add_facts(run: Tree, title: str, facts: Mapping[str, str]) -> None:
    branch = run.add(literal(title))
    width = max(map(len, facts), default=0)
    for name, value in sorted(facts.items()):
        branch.add(literal(f"{name:<{width}}  {value}"))


def _split(data: DatasetRef) -> str:
    """Say which rows went where; what was not recorded is left out."""
    rows = [f"{data.train_rows} rows trained", f"{data.valid_rows} held out"]
    rows += [f"{data.test_rows} for tests"] if data.test_rows else []
    rule = {
        "validation": f"{data.validation_fraction:g}",
        "test": f"{data.test_fraction:g}",
        "seed": f"{data.split_seed}",
    }
    told = [f"{name} {value}" for name, value in rule.items() if value != "0"]
    return ", ".join(rows) + (f"  ({', '.join(told)})" if told else "")


def _attempt(attempt: TrainingAttempt) -> str:
    outcome = AttemptOutcome.Name(attempt.outcome).removeprefix("ATTEMPT_OUTCOME_").lower()
    begun = f"resumed from step {attempt.resumed_from_step}" if attempt.resumed_from_step else ""
    ended = f"last step {attempt.last_step}" if attempt.last_step else "no step"
    steps = ", ".join(filter(None, (begun, ended)))
    times = f"{moment(attempt.started_at)} to {moment(attempt.ended_at)}"
    return f"{attempt.number}  {outcome.replace('_', ' ')}  {times}  {steps}"
