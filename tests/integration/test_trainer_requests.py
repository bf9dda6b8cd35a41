"""What is asked of the trainer: jobs made once, listed, and refused by name."""

from collections.abc import AsyncIterator

import pytest
from mlx_hub.trainer.v1 import trainer_service_pb2 as pb
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb

from tests.fixtures.registry import failure
from tests.fixtures.rows import register
from tests.fixtures.trainer import OpenTrainer, RunningTrainer

ENDLESS = {"epochs": 1000, "checkpoint_every_steps": 2}


@pytest.fixture
async def trainer(open_trainer: OpenTrainer) -> AsyncIterator[RunningTrainer]:
    async with open_trainer() as running:
        yield running


async def test_the_same_request_makes_one_job(trainer: RunningTrainer) -> None:
    request = trainer.request()
    headers = (("idempotency-key", "one"),)
    first = await trainer.stub.CreateTrainingJob(request, metadata=headers)
    again = await trainer.stub.CreateTrainingJob(trainer.request(request_id="one"))
    assert first.id == again.id
    call = trainer.stub.CreateTrainingJob(trainer.request(epochs=3), metadata=headers)
    assert (await failure(call)).reason == "REQUEST_ID_REUSED"


async def test_jobs_are_listed_newest_first(trainer: RunningTrainer) -> None:
    ids = [(await trainer.create(**ENDLESS)).id for _ in range(3)]
    await trainer.stub.CancelTrainingJob(pb.CancelTrainingJobRequest(job_id=ids[1]))
    page = await trainer.stub.ListTrainingJobs(pb.ListTrainingJobsRequest(page_size=2))
    assert [job.id for job in page.jobs] == [ids[2], ids[1]]
    token = page.next_page_token
    rest = pb.ListTrainingJobsRequest(page_size=2, page_token=token)
    last = await trainer.stub.ListTrainingJobs(rest)
    assert ([job.id for job in last.jobs], last.next_page_token) == ([ids[0]], "")
    cancelled = pb.ListTrainingJobsRequest(status=job_pb.JOB_STATUS_CANCELLED)
    assert [j.id for j in (await trainer.stub.ListTrainingJobs(cancelled)).jobs] == [ids[1]]
    wrong = pb.ListTrainingJobsRequest(page_token=token, model_id=trainer.model_id)
    error = await failure(trainer.stub.ListTrainingJobs(wrong))
    assert error.reason == "INVALID_PAGE_TOKEN"


async def test_wrong_requests_name_what_is_wrong(trainer: RunningTrainer) -> None:
    texts = await register(trainer.hub, "texts", [{"text": "a"}])
    for fields, reason, metadata in (
        ({"model_id": 99}, "MODEL_NOT_FOUND", {"model_id": "99"}),
        ({"dataset_id": 99}, "DATASET_NOT_FOUND", {"dataset_id": "99"}),
        ({"dataset_id": texts, "mask_prompt": True}, "INVALID_FIELD", {"field": "mask_prompt"}),
        ({"epochs": 0}, "INVALID_FIELD", {"field": "epochs"}),
        ({"quantize_bits": 5}, "INVALID_FIELD", {"field": "quantize_bits"}),
        ({"method": 9}, "INVALID_FIELD", {"field": "method"}),
        ({"method": 3, "lora_rank": 8}, "INVALID_FIELD", {"field": "lora_rank"}),
        ({"target_keys": ["a b"]}, "INVALID_FIELD", {"field": "target_keys[0]"}),
        ({"learning_rate": float("nan")}, "INVALID_FIELD", {"field": "learning_rate"}),
    ):
        error = await failure(trainer.create(**fields))
        assert (error.reason, error.metadata) == (reason, metadata)
    job = await trainer.create(dataset_id=texts, **ENDLESS)
    assert not job.mask_prompt
    error = await failure(trainer.watch(job.id, after=1000).read())
    assert (error.reason, error.metadata) == ("INVALID_FIELD", {"field": "after_sequence"})
    for call in (
        trainer.stub.GetTrainingJob(pb.GetTrainingJobRequest(job_id=99)),
        trainer.stub.CancelTrainingJob(pb.CancelTrainingJobRequest(job_id=99)),
        trainer.watch(99).read(),
    ):
        error = await failure(call)
        assert (error.reason, error.metadata) == ("JOB_NOT_FOUND", {"job_id": "99"})


async def test_a_text_that_postgres_cannot_store_is_refused(trainer: RunningTrainer) -> None:
    for request in (trainer.request(request_id="a\0b"), trainer.request(sample_prompts=["\0"])):
        error = await failure(trainer.stub.CreateTrainingJob(request))
        assert (error.reason, "NUL" in error.message) == ("INVALID_FIELD", True)
