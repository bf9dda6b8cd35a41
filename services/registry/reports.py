"""Dataset reports: made once by a child process, kept, and read from then on."""

import asyncio
import json
from functools import partial
from importlib.metadata import version

from google.protobuf.json_format import MessageToDict
from mlx_hub.internal.v1 import reporter_pb2
from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport, ReportParameters

from services.chassis.errors import Unavailable
from services.registry.artifacts import Artifacts
from services.registry.datasets import SUFFIX
from services.registry.domain import BaseModel, Dataset
from services.registry.flights import RETRY_AFTER_S, Flights
from services.registry.reporter import Reporter
from services.registry.store.base_models import BaseModelStore
from services.registry.store.reports import ReportKey, ReportStore
from services.runtime.rows import check_fractions

# A call may wait so long: a little less than the gateway does.
LONGEST_S = 290.0
# Raise the revision when the same data get another report; the libraries may change tokens, too.
CODE = {"revision": 1, **{n: version(n) for n in ("mlx-lm", "tokenizers", "transformers")}}


class Reports:
    """Gives reports on datasets for the base models under models."""

    def __init__(
        self, bases: BaseModelStore, reports: ReportStore, artifacts: Artifacts, linger_s: float
    ) -> None:
        """Know the stores and the files, and how long a report goes on without a caller."""
        self._bases = bases
        self._reports = reports
        self._artifacts = artifacts
        self._reporter = Reporter()
        self._flights: Flights[ReportKey, DatasetReport] = Flights(linger_s)
        self._rows_read: dict[ReportKey, int] = {}

    async def report(
        self, dataset: Dataset, model_id: int, parameters: ReportParameters, patience: float
    ) -> DatasetReport:
        """Give the report, kept or fresh; when patience ends before it is made, say how far it is.

        What is kept comes at once, whatever the patience.
        """
        check_fractions(parameters.validation_fraction, parameters.test_fraction)
        base = await self._bases.of_model(model_id)
        key = _key(dataset, base, parameters)
        found = await self._reports.find(key)
        if found is None:
            work = partial(self._make, key, dataset, base, parameters)
            try:
                found = await self._flights.join(key, work, patience)
            except TimeoutError:
                raise self._in_progress(key, dataset) from None
        report = DatasetReport(dataset_id=dataset.id, dataset_name=dataset.name)
        report.base_model.name = base.name
        report.MergeFrom(found)
        return report

    async def close(self) -> None:
        """End what is under way and leave no process behind."""
        await self._flights.close()
        await self._reporter.close()

    async def _make(
        self, key: ReportKey, dataset: Dataset, base: BaseModel, parameters: ReportParameters
    ) -> DatasetReport:
        """Let the child report and keep what it says."""
        await asyncio.to_thread(self._artifacts.verify, base.artifact_path, base.files)
        archive = self._artifacts.archive
        command = reporter_pb2.ReportCommand(
            parameters=parameters,
            base_path=str(archive / base.artifact_path),
            dataset_path=str(archive / "datasets" / f"{dataset.checksum}{SUFFIX}"),
            dataset_digest=dataset.checksum,
        )
        self._rows_read[key] = 0
        try:
            report = await self._reporter.report(command, partial(self._rows_read.__setitem__, key))
            report.dataset_digest, report.base_model.digest = dataset.checksum, base.digest
            await self._reports.keep(key, report)
        finally:
            self._rows_read.pop(key, None)
        return report

    def _in_progress(self, key: ReportKey, dataset: Dataset) -> Unavailable:
        read = self._rows_read.get(key, 0)
        if key not in self._flights:
            left = "is not made in the time of this call; ask again with a longer deadline"
        elif read == dataset.rows:
            left = "has read every row and compares them; it goes on, ask again"
        else:
            left = f"has read {read} of {dataset.rows} rows; it goes on, ask again"
        return Unavailable(
            "REPORT_IN_PROGRESS",
            f"the report on dataset {dataset.name!r} {left}",
            metadata={
                "dataset_id": str(dataset.id),
                "rows": str(dataset.rows),
                "rows_read": str(read),
            },
            retry_after_s=RETRY_AFTER_S,
        )


def _key(dataset: Dataset, base: BaseModel, parameters: ReportParameters) -> ReportKey:
    values = MessageToDict(
        parameters, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    text = json.dumps({**CODE, **values}, sort_keys=True)
    return ReportKey(dataset.checksum, base.digest, text)
