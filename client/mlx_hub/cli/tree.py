"""The lineage of a version as a tree."""

from mlx_hub.cli.output import console, literal, moment, short, size
from mlx_hub.registry.v1.lineage_pb2 import Lineage
from rich.console import Console
from rich.tree import Tree


def lineage_tree(lineage: Lineage) -> Tree:
    """Draw what a version was made from."""
    job, data, base = lineage.training, lineage.dataset, lineage.base_model
    tree = Tree(literal(f"{lineage.model_name}:{lineage.version}  {lineage.adapter_digest}"))
    files = tree.add(literal("files"))
    for file in lineage.files:
        files.add(literal(f"{file.name}  {size(file.size_bytes)}  {short(file.sha256)}"))
    origin = f"  from {base.source} {base.source_revision}".rstrip() if base.source else ""
    tree.add(literal(f"base model {base.name}  {base.digest}{origin}"))
    tree.add(
        literal(
            f"dataset {data.name}  {data.digest}  "
            f"({data.train_rows} rows trained, {data.valid_rows} held out)"
        )
    )
    run = tree.add(
        literal(
            f"job {job.job_id}, attempt {job.attempt}, seed {job.seed}  "
            f"{moment(job.started_at)} to {moment(job.finished_at)}"
        )
    )
    dirty = " with uncommitted changes" if job.code_dirty else ""
    run.add(literal(f"code {job.code_commit or 'not a checkout'}{dirty}"))
    run.add(literal(f"lock {job.lock_digest}"))
    for title, facts in (("parameters", job.parameters), ("environment", job.environment)):
        branch = run.add(literal(title))
        for name, value in sorted(facts.items()):
            branch.add(literal(f"{name} = {value}"))
    return tree


def show_lineage(lineage: Lineage, ui: Console | None = None) -> None:
    """Print the tree."""
    (ui or console()).print(lineage_tree(lineage))
