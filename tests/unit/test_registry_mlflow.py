"""What goes to MLflow, as far as it needs no MLflow."""

import subprocess
import sys

import pytest
from prometheus_client import REGISTRY

from services.registry import lineage as lineages
from services.registry.mlflow_sync import metrics
from services.registry.mlflow_sync.__main__ import summary
from services.registry.mlflow_sync.address import with_bounds
from services.registry.mlflow_sync.registered import expressible
from services.registry.mlflow_sync.tags import tags_of
from services.registry.store.outbox import Tally
from tests.unit.test_registry_domain import BASE, DATASET, MODEL, PUBLICATION, VERSION


def test_a_store_is_opened_with_our_driver_and_bounds() -> None:
    bounded = with_bounds("postgresql://u@/mlflow?host=/run/x&port=5432")
    assert bounded.startswith("postgresql+psycopg://u@/mlflow?host=/run/x&port=5432&connect_")
    assert "statement_timeout" in bounded
    assert with_bounds("postgresql+psycopg://h/db").startswith("postgresql+psycopg://h/db?connect_")
    assert with_bounds("http://h:5000") == "http://h:5000"


def test_a_run_names_every_digest() -> None:
    lineage = lineages.trace(PUBLICATION, MODEL, BASE, DATASET, VERSION.checksum)
    tags = tags_of(VERSION, lineage)
    assert {VERSION.checksum, BASE.digest, DATASET.checksum, "c" * 40, "d" * 64} <= set(
        tags.values()
    )
    assert (tags["mlx_hub.version_id"], tags["mlx_hub.job_id"]) == ("6", "5")


@pytest.mark.parametrize(
    ("alias", "taken"),
    [("champion", True), ("a_b-2", True), ("a.b", False), ("latest", False), ("v2", False)],
)
def test_some_aliases_are_none_of_mlflow(alias: str, taken: bool) -> None:
    assert expressible(alias) is taken


def test_an_error_keeps_a_password_to_itself() -> None:
    error = RuntimeError("no answer from https://me:secret@host/api\nand more")
    assert summary(error) == "RuntimeError: no answer from https://***@host/api"


def test_prometheus_sees_what_waits_and_what_was_done() -> None:
    def sample(name: str) -> float:
        return REGISTRY.get_sample_value(f"mlx_hub_mlflow_{name}", {"kind": "version"}) or 0.0

    delivered, failed = sample("deliveries_total"), sample("failures_total")
    before = [Tally("version", 5, 1, 0, 0, 0.0, None)]
    metrics.mirrored(before, None)  # what earlier processes did is not this one's
    metrics.mirrored([Tally("version", 7, 4, 2, 1, 30.5, None)], before)
    assert sample("deliveries_total") - delivered == 2
    assert sample("failures_total") - failed == 3
    assert (sample("pending"), sample("parked")) == (2, 1)
    assert REGISTRY.get_sample_value("mlx_hub_mlflow_lag_seconds") == 30.5


def test_the_service_starts_without_mlflow() -> None:
    code = "import sys, services.registry.__main__; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
