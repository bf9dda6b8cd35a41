"""From a job's evaluation to the registry: what was found out is watched, recorded and compared."""

from typing import Any

from mlx_hub.registry.v1 import evaluation_pb2, promotion_gate_pb2
from mlx_hub.registry.v1 import quality_service_pb2 as pb
from mlx_hub.registry.v1 import version_messages_pb2 as versions_pb
from mlx_hub.registry.v1 import version_sample_pb2 as sample_pb
from mlx_hub.trainer.v1 import training_event_pb2 as event_pb
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb

from services.runtime.rows import Side, Split, read_rows
from tests.fixtures.registry import failure
from tests.fixtures.trainer import OpenTrainer

TEST = evaluation_pb2.EVALUATION_SPLIT_TEST
LOWER = promotion_gate_pb2.METRIC_DIRECTION_LOWER_IS_BETTER
SPLIT: dict[str, Any] = {"seed": 3, "validation_fraction": 0.2, "test_fraction": 0.25}


async def test_a_finished_job_passes_the_gate_by_what_it_found_out(
    open_trainer: OpenTrainer,
) -> None:
    async with open_trainer() as trainer:
        quality, model_id = trainer.hub.quality, trainer.model_id
        gate: dict[str, Any] = {"metric": "loss", "direction": LOWER, "split": TEST}
        gate |= {"model_id": model_id, "dataset_id": trainer.dataset_id}
        await quality.SetPromotionGate(pb.SetPromotionGateRequest(**gate))
        created = await trainer.create(samples=2, sample_tokens=4, **SPLIT)
        assert (created.evaluate, created.samples, created.sample_tokens) == (True, 2, 4)
        job, events = await trainer.end(created.id)
        assert job.status == job_pb.JOB_STATUS_COMPLETED, job.error

        base, version = [e.evaluation for e in events if e.HasField("evaluation")]
        assert (base.which, version.which) == (
            event_pb.EVALUATED_WEIGHTS_BASE,
            event_pb.EVALUATED_WEIGHTS_VERSION,
        )
        listed = await quality.ListEvaluations(pb.ListEvaluationsRequest(model_id=model_id))
        values = {(e.version, e.metric): e.value for e in listed.evaluations if e.split == TEST}
        assert values == {
            (0, "loss"): base.loss,
            (0, "perplexity"): base.perplexity,
            (1, "loss"): version.loss,
            (1, "perplexity"): version.perplexity,
        }
        promote = versions_pb.PromoteVersionRequest(model_id=model_id, version="1")
        assert (await trainer.hub.stub.PromoteVersion(promote)).aliases == ["champion", "latest"]


async def test_samples_are_of_rows_that_were_held_out(open_trainer: OpenTrainer) -> None:
    async with open_trainer() as trainer:
        created = await trainer.create(samples=2, sample_tokens=4, epochs=1, **SPLIT)
        job, _ = await trainer.end(created.id)
        wanted = sample_pb.ListVersionSamplesRequest(model_id=trainer.model_id, version="latest")
        samples = (await trainer.hub.quality.ListVersionSamples(wanted)).samples
        [(name,)] = trainer.hub.sql("SELECT checksum FROM registry.datasets")
        stored = trainer.hub.archive / "datasets" / f"{name}.jsonl"
        split = Split(3, job.validation_fraction, job.test_fraction)
        asked = {
            row.content["messages"][0]["content"]
            for row in read_rows(stored, str(name))
            if split.side(row.digest) is Side.TEST
        }
        assert len(samples) == 2
        assert {sample.turns[0].content for sample in samples} <= asked

        error = await failure(trainer.create(validation_fraction=0, evaluate=True))
        assert (error.reason, error.metadata) == ("INVALID_FIELD", {"field": "evaluate"})
