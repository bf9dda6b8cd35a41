"""Dataset reports: made once by a child process, kept, and read from then on."""

import asyncio
import json
from functools import partial
from importlib.metadata import version

from google.protobuf.json_format import MessageToDict
from mlx_hub.internal.v1 import reporter_pb2
from mlx_hub.registry.v1.dataset_report_pb2 import DatasetReport, ReportParameters

from services.registry.artifacts import Artifacts
from services.registry.datasets import SUFFIX
from services.registry.domain import BaseModel, Dataset
from services.registry.flights import Flights
from services.registry.reporter import Reporter
from services.registry.store.base_models import BaseModelStore
from services.registry.store.reports import ReportKey, ReportStore
from services.runtime.rows import check_fractions

# Raise the revision when the same data get another report; the libraries may change tokens, too.
_CODE = {"revision": 1, **{n: version(n) for n in ("mlx-lm", "tokenizers", "transformers")}}


class Reports:
    """Gives reports on datasets for the base models under models."""

    def __init__(self, bases: BaseModelStore, reports: ReportStore, artifacts: Artifacts) -> None:
        """Know the stores and the files."""
        self._bases = bases
        self._reports = reports
        self._artifacts = artifacts
        self._reporter = Reporter()
        self._flights: Flights[ReportKey, DatasetReport] = Flights()

    async def report(
        self, dataset: Dataset, model_id: int, parameters: ReportParameters
    ) -> DatasetReport:
        """Give the report, kept or fresh."""
        check_fractions(parameters.validation_fraction, parameters.test_fraction)
        base = await self._bases.of_model(model_id)
        key = _key(dataset, base, parameters)
        found = await self._reports.find(key)
        if found is None:
            work = partial(self._make, key, dataset, base, parameters)
            found = await self._flights.join(key, work)
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
        report = await self._reporter.report(command)
        report.dataset_digest, report.base_model.digest = dataset.checksum, base.digest
        await self._reports.keep(key, report)
        return report


def _key(dataset: Dataset, base: BaseModel, parameters: ReportParameters) -> ReportKey:
    values = MessageToDict(
        parameters, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    text = json.dumps({**_CODE, **values}, sort_keys=True)
    return ReportKey(dataset.checksum, base.digest, text)
