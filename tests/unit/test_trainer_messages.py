"""Between the wire and the domain nothing is lost, and defaults are the contract's."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_hub.registry.v1 import dataset_pb2
from mlx_hub.registry.v1 import dataset_service_pb2 as datasets_pb
from mlx_hub.trainer.v1 import training_job_pb2 as job_pb
from mlx_hub.trainer.v1.training_request_pb2 import CreateTrainingJobRequest

from services.chassis.errors import Invalid, Unavailable
from services.registry.domain import Dataset, DatasetSchema
from services.registry.messages.reports import report_parameters
from services.trainer import messages
from services.trainer.domain import JobStatus, Order, TrainingJob
from services.trainer.events import StoredEvent, decode, encode
from services.trainer.forecast import Forecast
from services.trainer.recipe import Method, Optimizer, Recipe, Schedule
from services.trainer.reports import Checkpoint, MemoryWait, Progress, Step, Validation

NOW = datetime(2030, 1, 2, 3, 4, 5, 678000, UTC)
SINGLE = st.floats(2**-20, 1, width=32, exclude_max=True)
RECIPES = st.builds(
    Recipe,
    lora_rank=st.integers(1, 256),
    learning_rate=SINGLE,
    epochs=st.integers(1, 1000),
    batch_size=st.integers(1, 256),
    seed=st.integers(0, 2**31 - 1),
    lora_scale=SINGLE,
    lora_dropout=SINGLE,
    lora_layers=st.integers(0, 1000),
    max_seq_length=st.integers(8, 131072),
    mask_prompt=st.booleans(),
    validation_fraction=SINGLE,
    checkpoint_every_steps=st.integers(1, 100000),
    test_fraction=SINGLE,
    method=st.sampled_from(Method),
    quantize_bits=st.sampled_from([0, 4, 8]),
    target_keys=st.lists(st.sampled_from(["q_proj", "mlp.up_proj"]), unique=True).map(tuple),
    optimizer=st.sampled_from(Optimizer),
    schedule=st.sampled_from(Schedule),
    warmup_steps=st.integers(0, 1000000),
    weight_decay=SINGLE,
    grad_clip=SINGLE,
    grad_accumulation=st.integers(1, 1024),
    grad_checkpoint=st.booleans(),
    nonfinite_lr_factor=SINGLE,
    early_stop_patience=st.integers(0, 1000),
    early_stop_min_delta=SINGLE,
    evaluate=st.booleans(),
    samples=st.integers(0, 8),
    sample_prompts=st.lists(st.text(min_size=1), max_size=8).map(tuple),
    sample_tokens=st.integers(1, 256),
)
CHAT, TEXT = dataset_pb2.DATASET_SCHEMA_CHAT, dataset_pb2.DATASET_SCHEMA_TEXT


DEFAULT = Recipe()


def job(recipe: Recipe = DEFAULT, status: JobStatus = JobStatus.QUEUED) -> TrainingJob:
    return TrainingJob(1, status, 2, 3, recipe, 3, NOW, progress=Progress(1, 2, 1, 0.5))


@given(RECIPES)
def test_recipes_survive_the_wire(recipe: Recipe) -> None:
    sent = messages.job_to_proto(job(recipe))
    again = messages.recipe_from_proto(job_pb.TrainingJob.FromString(sent.SerializeToString()))
    assert messages.job_to_proto(job(again)) == sent


def test_a_report_has_a_jobs_defaults() -> None:
    asked = datasets_pb.GetDatasetReportRequest(dataset_id=1, model_id=1)
    for schema, wire in ((DatasetSchema.CHAT, CHAT), (DatasetSchema.TEXT, TEXT)):
        dataset = Dataset(1, "d", "d.jsonl", "a" * 64, schema, 1, 1, NOW)
        parameters = report_parameters(asked, dataset)
        order = messages.order_from_proto(CreateTrainingJobRequest(model_id=1, dataset_id=1), wire)
        recipe = messages.job_to_proto(job(order.recipe))
        for field in parameters.DESCRIPTOR.fields:
            assert getattr(parameters, field.name) == getattr(recipe, field.name)


def test_too_much_held_out_is_refused() -> None:
    request = CreateTrainingJobRequest(model_id=1, dataset_id=1, test_fraction=0.5)
    assert messages.order_from_proto(request, CHAT).recipe.test_fraction == 0.5
    request.validation_fraction = 0.45
    with pytest.raises(Invalid) as caught:
        messages.order_from_proto(request, CHAT)
    assert caught.value.metadata == {"field": "test_fraction"}


def test_defaults_are_the_contracts() -> None:
    order = messages.order_from_proto(CreateTrainingJobRequest(model_id=1, dataset_id=2), CHAT)
    assert order == Order(1, 2, Recipe(), 3)
    assert order.recipe.learning_rate == 1e-4
    text = messages.order_from_proto(CreateTrainingJobRequest(model_id=1, dataset_id=2), TEXT)
    assert not text.recipe.mask_prompt


def test_what_is_given_counts_even_when_it_is_zero() -> None:
    request = CreateTrainingJobRequest(
        model_id=1, dataset_id=2, validation_fraction=0, mask_prompt=False, max_attempts=1
    )
    order = messages.order_from_proto(request, CHAT)
    assert (order.recipe.validation_fraction, order.recipe.mask_prompt) == (0, False)
    assert order.max_attempts == 1


def test_weight_decay_is_the_optimizers_own_unless_it_is_given() -> None:
    def decay(**fields: Any) -> float:
        request = CreateTrainingJobRequest(model_id=1, dataset_id=2, **fields)
        return messages.order_from_proto(request, CHAT).recipe.weight_decay

    assert decay() == decay(optimizer=job_pb.TRAINING_OPTIMIZER_ADAMW) == 0.01
    assert decay(optimizer=job_pb.TRAINING_OPTIMIZER_LION) == 0
    assert decay(optimizer=job_pb.TRAINING_OPTIMIZER_SGD, weight_decay=0.5) == 0.5
    assert decay(weight_decay=0) == 0


FULL, ADAM = job_pb.TRAINING_METHOD_FULL, job_pb.TRAINING_OPTIMIZER_ADAM


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"method": FULL, "lora_rank": 8}, "lora_rank"),
        ({"method": FULL, "lora_scale": 20}, "lora_scale"),
        ({"method": FULL, "lora_dropout": 0.1}, "lora_dropout"),
        ({"method": FULL, "quantize_bits": 4}, "quantize_bits"),
        ({"optimizer": ADAM, "weight_decay": 0.1}, "weight_decay"),
        ({"early_stop_patience": 2, "validation_fraction": 0}, "early_stop_patience"),
        ({"early_stop_min_delta": 0.1}, "early_stop_min_delta"),
    ],
)
def test_what_a_choice_leaves_no_room_for_is_refused(fields: dict[str, Any], named: str) -> None:
    request = CreateTrainingJobRequest(model_id=1, dataset_id=2, **fields)
    with pytest.raises(Invalid) as caught:
        messages.order_from_proto(request, CHAT)
    assert caught.value.metadata == {"field": named}


def test_masking_text_is_refused() -> None:
    request = CreateTrainingJobRequest(model_id=1, dataset_id=2, mask_prompt=True)
    with pytest.raises(Invalid) as caught:
        messages.order_from_proto(request, TEXT)
    assert caught.value.metadata == {"field": "mask_prompt"}


def test_parameters_name_every_field_as_it_was_written() -> None:
    shown = messages.parameters(
        messages.job_to_proto(job(Recipe(learning_rate=2e-4, target_keys=("q_proj", "v_proj"))))
    )
    assert shown["learning_rate"] == "0.0002"
    assert shown["mask_prompt"] == "true"
    assert (shown["method"], shown["target_keys"]) == ("lora", "q_proj,v_proj")
    assert set(shown) == {*messages.RECIPE_FIELDS, "max_attempts", "checkpoints_kept"}


@pytest.mark.parametrize("status", JobStatus)
def test_every_status_has_its_number(status: JobStatus) -> None:
    sent = messages.job_to_proto(job(status=status))
    assert job_pb.JobStatus.Name(sent.status) == f"JOB_STATUS_{status.upper()}"
    assert messages.status_from_proto(sent.status) is status
    assert sent.HasField("error") == (status is JobStatus.FAILED)


def test_an_unspecified_status_filters_nothing() -> None:
    assert messages.status_from_proto(job_pb.JOB_STATUS_UNSPECIFIED) is None


def test_reports_survive_the_wire() -> None:
    step, validation, checkpoint = Step(1, 2, 1, 0.5, 0.25, 8.0, 1e9), Validation(1, 0.5), 3
    for told in (step, replace(step, smoothed_loss=0.0, eta_seconds=1.5, trained_tokens=2.0**40)):
        assert messages.step_from_proto(messages.step_to_proto(told)) == told
    assert messages.validation_from_proto(messages.validation_to_proto(validation)) == validation
    saved = messages.checkpoint_to_proto(Checkpoint(checkpoint))
    assert messages.checkpoint_from_proto(saved) == Checkpoint(checkpoint)
    for progress in (Progress(), Progress(1, 2, 1, 0.5, 0.25, 8.0, 1e9, 0.75, 0.0, 2.0, 64.0)):
        assert messages.progress_from_proto(messages.progress_to_proto(progress)) == progress


def test_what_is_told_of_memory_survives_the_log_and_reaches_the_watcher() -> None:
    wait, parts = MemoryWait(90, 100, 60, 40, 600.0), Forecast(1, 2, 3, 4, rows=5, tokens=6)
    for event in (wait, parts):
        assert decode(*encode(event)) == event
    told = messages.frame(StoredEvent(5, 2, NOW, wait)).memory_wait
    assert (told.needed_bytes, told.at_most_seconds) == (90, 600)
    room = told.room
    assert (room.budget_bytes, room.held_bytes, room.free_bytes) == (100, 60, 40)
    shown = messages.frame(StoredEvent(5, 2, NOW, parts)).forecast
    assert (shown.process_bytes, shown.weight_bytes, shown.optimizer_bytes) == (1, 2, 3)
    assert (shown.activation_bytes, shown.total_bytes, shown.rows, shown.tokens) == (4, 10, 5, 6)


def test_frames_carry_what_was_stored() -> None:
    frame = messages.frame(StoredEvent(5, 2, NOW, Validation(1, 0.5)))
    assert (frame.sequence, frame.attempt, frame.validation.val_loss) == (5, 2, 0.5)
    assert frame.created_at.ToDatetime(UTC) == NOW
    assert messages.frame(StoredEvent(1, 0, NOW, job())).job.id == 1
    error = messages.frame(Unavailable("SHUTTING_DOWN", "later"))
    assert error.error.message == "later"
