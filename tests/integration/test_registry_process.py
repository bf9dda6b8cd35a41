"""The registry's own process: how it starts, refuses to start, and ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlx_hub.registry.v1 import registry_service_pb2 as pb

from tests.fixtures.registry_process import free_port, registry_process


async def test_it_serves_and_ends_on_sigterm(database_url: str, tmp_path: Path) -> None:
    async with registry_process(tmp_path, database_url) as (process, stub):
        assert len((await stub.ListModels(pb.ListModelsRequest())).models) == 0
        process.terminate()
        assert await process.wait() == 0


def refused(tmp_path: Path, **settings: str) -> tuple[int, str]:
    ports = {"MLX_HUB_REGISTRY_PORT": "0", "MLX_HUB_REGISTRY_METRICS_PORT": str(free_port())}
    env = {**os.environ, "MLX_HUB_HOME": str(tmp_path), **ports, **settings}
    done = subprocess.run(
        [sys.executable, "-m", "services.registry"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_it_refuses_an_unmigrated_database(empty_database_url: str, tmp_path: Path) -> None:
    code, complaint = refused(tmp_path, DATABASE_URL=empty_database_url)
    assert code == 1
    assert "mlx-hub up" in complaint
    assert "Traceback" not in complaint


@pytest.mark.parametrize("url", ["", "sqlite:///x"])
def test_it_names_a_bad_setting(tmp_path: Path, url: str) -> None:
    code, complaint = refused(tmp_path, DATABASE_URL=url, MLX_HUB_DATASET_MAX_ROWS="0")
    assert code == 2
    assert [line.split(":")[0] for line in complaint.splitlines()] == [
        "setting DATABASE_URL",
        "setting MLX_HUB_DATASET_MAX_ROWS",
    ]


def test_it_says_that_the_database_is_away(tmp_path: Path) -> None:
    url = f"postgresql://127.0.0.1:{free_port()}/x"
    code, complaint = refused(tmp_path, DATABASE_URL=url)
    assert code == 1
    assert "Traceback" not in complaint
    assert "database" in complaint
