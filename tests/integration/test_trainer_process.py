"""`python -m services.trainer` as the stack runs it: started, stopped, killed."""

import signal

import grpc
from mlx_hub.trainer.v1 import trainer_service_pb2_grpc as pb_grpc
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb
from mlx_hub.trainer.v1.training_request_pb2 import CreateTrainingJobRequest

from tests.fixtures.registry import RunningRegistry
from tests.fixtures.registry_process import free_port
from tests.fixtures.rows import ROWS, register
from tests.fixtures.trainer import FAST, until_step, watch
from tests.fixtures.trainer_process import Start, trainer_environment, worker_of


async def test_it_survives_being_stopped_and_killed(hub: RunningRegistry, start: Start) -> None:
    port = free_port()
    environment = trainer_environment(hub.settings.database_url, hub.port, port)
    model, dataset = await hub.model(), await register(hub, "rows", ROWS)
    first = start(hold=3, **environment)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.TrainerServiceStub(channel)
        request = CreateTrainingJobRequest(
            model_id=model.id, dataset_id=dataset, **{**FAST, "epochs": 4, "max_attempts": 2}
        )
        job = await stub.CreateTrainingJob(request, wait_for_ready=True)
        await until_step(stub, job.id, 3)
        worker = worker_of(first)
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 0, first.communicate()[1]
        assert not worker.is_running()
        [row] = hub.sql("SELECT status, failed_attempts, step FROM trainer.jobs")
        assert row == ("queued", 0, 3)

        second = start(hold=6, **environment)
        await until_step(stub, job.id, 6)
        worker = worker_of(second)
        second.kill()
        worker.wait(60)

        start(**environment)
        ended = [frame.job async for frame in watch(stub, job.id, after=None)][-1]
        assert (ended.status, ended.attempt) == (job_pb.JOB_STATUS_COMPLETED, 3)
        [lost] = hub.sql("SELECT failed_attempts FROM trainer.jobs")
        assert lost == (1,)


def test_it_says_what_is_wrong_with_its_settings(start: Start) -> None:
    process = start(DATABASE_URL="mysql://host/db", MLX_HUB_LEASE_SECONDS="0")
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert "DATABASE_URL" in message
    assert "MLX_HUB_LEASE_SECONDS" in message


def test_it_refuses_a_database_that_was_not_migrated(
    start: Start, empty_database_url: str, migrated_template: str
) -> None:
    """The roles exist, for they belong to the server; the tables do not."""
    ports = {f"MLX_HUB_{name}_PORT": str(free_port()) for name in ("TRAINER", "TRAINER_METRICS")}
    process = start(DATABASE_URL=empty_database_url, **ports)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "mlx-hub up" in message
