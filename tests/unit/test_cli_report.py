"""A report on the screen."""

from io import StringIO

from mlx_hub.cli.report import print_report
from mlx_hub.registry.v1.dataset_report_pb2 import (
    DatasetReport,
    ExactDuplicates,
    NearDuplicates,
    Padding,
    ReportParameters,
    ReportWarning,
    RowLines,
    TokenBucket,
    TokenCounts,
)
from mlx_hub.registry.v1.lineage_pb2 import BaseModelRef
from rich.console import Console

BUCKETS = [(32, 63, 10), (64, 127, 40), (128, 255, 0), (256, 511, 1)]
REPORT = DatasetReport(
    dataset_name="tickets",
    dataset_digest="ab" * 32,
    base_model=BaseModelRef(name="tiny", digest="cd" * 32),
    parameters=ReportParameters(max_seq_length=256, batch_size=4),
    rows=51,
    train_rows=40,
    valid_rows=6,
    test_rows=5,
    tokens=TokenCounts(
        total=4000,
        cut=30,
        trained=1500,
        min=33,
        mean=78.4,
        median=70.5,
        p95=120,
        max=286,
        histogram=[TokenBucket(from_tokens=a, to_tokens=b, rows=n) for a, b, n in BUCKETS],
    ),
    truncated=RowLines(count=1, lines=[7]),
    masked=RowLines(count=12, lines=range(1, 13)),
    exact_duplicates=ExactDuplicates(groups=1, repeats=2),
    near_duplicates=NearDuplicates(pairs=3, straddling_pairs=1),
    padding=Padding(share=0.0625),
    warnings=[ReportWarning(code="MASKED_ROWS", text="lines 1, 2 [bold]\x1b[31m")],
)


def shown(report: DatasetReport) -> list[str]:
    output = StringIO()
    print_report(report, Console(file=output, width=100, markup=False, highlight=False))
    return output.getvalue().splitlines()


def test_facts_a_histogram_and_what_to_mend() -> None:
    lines = shown(REPORT)
    facts = dict(line.split("  ", 1) for line in lines if "  " in line.strip())
    assert {name: facts[name].strip() for name in ("rows", "truncated", "masked out")} == {
        "rows": "51: 40 to train, 6 to validate, 5 for tests",
        "truncated": "1 (line 7); 30 tokens lost beyond 256",
        "masked out": "12 (lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …)",
    }
    assert facts["near duplicates"].strip() == "at least 3 pairs, 1 of them across the split"
    assert facts["padding"].strip() == "6.2% at batch size 4"
    bars = {line.split()[0]: line.count("█") for line in lines if "–" in line}
    assert bars == {"32–63": 10, "64–127": 40, "128–255": 0, "256–511": 1}
    # What was stored may not drive the terminal.
    assert lines[-1] == "MASKED_ROWS: lines 1, 2 [bold]\ufffd[31m"


def test_nothing_to_mend_is_said() -> None:
    lines = shown(DatasetReport(rows=3))
    assert lines[-1] == "nothing to mend"
