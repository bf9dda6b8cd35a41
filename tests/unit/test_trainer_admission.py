"""What a report must say for a job to be let in."""

import pytest
from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport, ReportParameters, RowLines

from services.chassis.errors import FailedPrecondition
from services.trainer import admission
from services.trainer.recipe import DEFAULTS, Recipe

PATIENT = Recipe(early_stop_patience=1)
GOOD = DatasetReport(
    rows=9, train_rows=8, valid_rows=1, parameters=ReportParameters(max_seq_length=64)
)


def test_good_data_are_let_in() -> None:
    admission.check(GOOD, DEFAULTS)
    admission.check(GOOD, PATIENT)


def test_early_stopping_needs_a_held_out_row() -> None:
    report = DatasetReport()
    report.CopyFrom(GOOD)
    report.valid_rows = 0
    admission.check(report, DEFAULTS)
    with pytest.raises(FailedPrecondition, match="early_stop_patience needs held-out rows"):
        admission.check(report, PATIENT)


@pytest.mark.parametrize(
    ("fields", "words", "lines"),
    [
        ({"masked": RowLines(count=2, lines=[5, 6])}, "lines 5, 6 of the dataset: no token", "5,6"),
        (
            {"refused": RowLines(count=1, lines=[7]), "refusal": "roles must alternate"},
            "line 7 of the dataset: roles must alternate",
            "7",
        ),
        (
            {
                "masked": RowLines(count=200, lines=range(1, 101)),
                "refused": RowLines(count=1, lines=[50]),
            },
            "10 and 190 more",
            ",".join(map(str, sorted([*range(1, 101), 50]))),
        ),
        ({"train_rows": 0}, "no row is left to train on", ""),
    ],
)
def test_what_the_worker_would_refuse_is_refused(
    fields: dict[str, object], words: str, lines: str
) -> None:
    report = DatasetReport()
    report.CopyFrom(GOOD)
    report.ClearField("train_rows")
    report.MergeFrom(DatasetReport(**{"train_rows": 8, **fields}))  # type: ignore[arg-type]
    with pytest.raises(FailedPrecondition) as caught:
        admission.check(report, DEFAULTS)
    assert words in caught.value.message
    assert (caught.value.reason, caught.value.metadata) == ("UNTRAINABLE", {"lines": lines})
