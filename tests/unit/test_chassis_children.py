"""What children are given: all but what holds passwords."""

import os
from collections.abc import Callable

import pytest

from services.chassis import children
from services.trainer import child

SECRET = "hunter2"
SECRETS = (
    "DATABASE_URL",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_PASSWORD",
    "PGPASSWORD",
    "HF_TOKEN",
)


@pytest.mark.parametrize("environment", [children.environment, child.environment])
def test_a_child_is_told_no_secret(
    environment: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("MLX_HUB_BLAS", "stock")
    given = environment()
    assert SECRET not in given.values()
    assert (given["MLX_HUB_BLAS"], given["PATH"]) == ("stock", os.environ["PATH"])


def test_what_the_operator_sets_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    assert children.environment(OPENBLAS_NUM_THREADS="1")["OPENBLAS_NUM_THREADS"] == "1"
    assert int(child.environment()["OPENBLAS_NUM_THREADS"]) >= 1
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    assert children.environment(OPENBLAS_NUM_THREADS="1")["OPENBLAS_NUM_THREADS"] == "7"
    assert child.environment()["OPENBLAS_NUM_THREADS"] == "7"
