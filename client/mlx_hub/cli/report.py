"""A dataset report for people: facts, a histogram, and what to mend."""

from collections.abc import Iterator

from mlx_hub.cli.output import literal, short
from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport, RowLines
from rich.bar import Bar
from rich.console import Console
from rich.table import Table

_BAR_WIDTH = 40
_NAMED = 10


def print_report(report: DatasetReport, ui: Console) -> None:
    """Print it."""
    facts = Table.grid("", "", padding=(0, 2))
    for name, value in _facts(report):
        facts.add_row(literal(name), literal(value))
    ui.print(facts)
    if report.tokens.histogram:
        ui.print(literal("\ntokens of a row"))
        ui.print(_histogram(report))
    ui.print()
    for warning in report.warnings:
        ui.print(literal(f"{warning.code}: {warning.text}", style="yellow"))
    if not report.warnings:
        ui.print(literal("nothing to mend", style="green"))


def _facts(report: DatasetReport) -> Iterator[tuple[str, str]]:
    tokens, options = report.tokens, report.parameters
    yield "dataset", f"{report.dataset_name}  {short(report.dataset_digest)}"
    yield "base model", f"{report.base_model.name}  {short(report.base_model.digest)}"
    sides = f"{report.train_rows} to train, {report.valid_rows} to validate"
    yield "rows", f"{report.rows}: {sides}, {report.test_rows} for tests"
    yield "tokens", f"{tokens.total:.0f}, of them {tokens.trained:.0f} trained in an epoch"
    middle = f"mean {tokens.mean:.1f}, median {tokens.median:g}, 95 % up to {tokens.p95}"
    yield "tokens of a row", f"{tokens.min} to {tokens.max}: {middle}"
    cut = f"{tokens.cut:.0f} tokens lost beyond {options.max_seq_length}"
    yield "truncated", f"{_rows(report.truncated)}; {cut}"
    yield "masked out", _rows(report.masked)
    yield "refused", _rows(report.refused)
    yield "never seen", _rows(report.never_seen)
    exact, near = report.exact_duplicates, report.near_duplicates
    yield "equal rows", f"{exact.repeats} repeat another one, in {exact.groups} groups"
    least = "" if near.complete else "at least "
    straddling = f"{near.straddling_pairs} of them across the split"
    yield "near duplicates", f"{least}{near.pairs} pairs, {straddling}"
    yield "padding", f"{report.padding.share:.1%} at batch size {options.batch_size}"


def _rows(rows: RowLines) -> str:
    if not rows.count:
        return "none"
    named = ", ".join(map(str, rows.lines[:_NAMED]))
    more = ", …" if rows.count > _NAMED else ""
    return f"{rows.count} (line{'s' if rows.count > 1 else ''} {named}{more})"


def _histogram(report: DatasetReport) -> Table:
    """Draw a bar for each range of lengths."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column(justify="right")
    buckets = report.tokens.histogram
    most = max(bucket.rows for bucket in buckets)
    for bucket in buckets:
        bar = Bar(most, 0, bucket.rows, width=_BAR_WIDTH)
        table.add_row(f"{bucket.from_tokens}–{bucket.to_tokens}", str(bucket.rows), bar)
    return table
