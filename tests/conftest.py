"""Fixtures that every tier may use; they live in tests/fixtures, by what they provide."""

import gc
import os
from collections.abc import Generator

import mlx_hub.cli  # noqa: F401 (as the command does, before gRPC is imported)
import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures.jobs",
    "tests.fixtures.mlflow_seen",
    "tests.fixtures.mlflow_server",
    "tests.fixtures.kills",
    "tests.fixtures.generations",
    "tests.fixtures.otlp",
    "tests.fixtures.postgres",
    "tests.fixtures.registry",
    "tests.fixtures.gated",
    "tests.fixtures.scripted_registry",
    "tests.fixtures.seeded",
    "tests.fixtures.stack",
    "tests.fixtures.openai_served",
    "tests.fixtures.starter",
    "tests.fixtures.tiers",
    "tests.fixtures.tiny_adapters",
    "tests.fixtures.tiny_model",
    "tests.fixtures.tiny_tools",
    "tests.fixtures.exchange",
    "tests.fixtures.trained",
    "tests.fixtures.evaluator",
    "tests.fixtures.certificates",
    "tests.fixtures.client_venv",
    "tests.fixtures.commands",
    "tests.fixtures.worker",
    "tests.fixtures.holding",
    "tests.fixtures.trainer",
    "tests.fixtures.trainer_process",
]

# What runs longest, from the longest on; what takes half a minute or less stands nowhere here.
LONG = (
    *("test_ui", "test_demo", "test_openapi", "test_client_docs", "test_start"),
    *("test_observability", "test_faults"),
    *("test_stack_run", "test_mlflow_mirror", "test_mlflow_faults", "test_trainer_replay"),
    *("test_mlflow_jobs", "test_trainer_service", "test_trainer_resume", "test_exchange_export"),
    *("test_trainer_evaluation", "test_trainer_worker", "test_base_model_conversion"),
    *("test_kills", "test_edges", "test_stopped"),
)

# How long an example takes says something of the machine, not of the code.
settings.register_profile("hub", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hub")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the kill test run for longer than CI has time for."""
    parser.addoption("--kills", type=int, default=30, help="SIGKILLs in tests/faults/test_kills.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that none runs on alone at the end."""
    order = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector off what lives to the end: a million objects to walk each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, which brings all that tests need, a test that is skipped has failed."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which nothing may be in CI: {report.longrepr}"
    return report
