"""The trainer's tables: the queue with its lease, and what every job reported.

Foreign keys into the registry's schema stand in migrations/metadata.py: services
never import each other.
"""

from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSONB, REAL
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.tables import Base, Key, Now, Time, trigger

SCHEMA = "trainer"
_ZERO = text("0")


class JobRow(Base):
    """One run of training. Every write of a worker names the attempt it was given."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(
            "status IN ('queued', 'running', 'completed', 'failed', 'cancelled')", name="status"
        ),
        # The bounds of CreateTrainingJobRequest.
        CheckConstraint("lora_rank BETWEEN 1 AND 256", name="lora_rank"),
        CheckConstraint("learning_rate > 0 AND learning_rate <= 1", name="learning_rate"),
        CheckConstraint("epochs BETWEEN 1 AND 1000", name="epochs"),
        CheckConstraint("batch_size BETWEEN 1 AND 256", name="batch_size"),
        CheckConstraint("seed >= 0", name="seed"),
        CheckConstraint("lora_scale > 0 AND lora_scale <= 1000", name="lora_scale"),
        CheckConstraint("lora_dropout >= 0 AND lora_dropout < 1", name="lora_dropout"),
        CheckConstraint("lora_layers BETWEEN 0 AND 1000", name="lora_layers"),
        CheckConstraint("max_seq_length BETWEEN 8 AND 131072", name="max_seq_length"),
        CheckConstraint("validation_fraction BETWEEN 0 AND 0.5", name="validation_fraction"),
        CheckConstraint("test_fraction BETWEEN 0 AND 0.5", name="test_fraction"),
        CheckConstraint("method IN ('lora', 'dora', 'full')", name="method"),
        CheckConstraint("quantize_bits IN (0, 4, 8)", name="quantize_bits"),
        CheckConstraint("cardinality(target_keys) <= 64", name="target_keys"),
        CheckConstraint(
            "optimizer IN ('adamw', 'adam', 'sgd', 'adafactor', 'lion')", name="optimizer"
        ),
        CheckConstraint("schedule IN ('constant', 'linear', 'cosine')", name="schedule"),
        CheckConstraint("warmup_steps BETWEEN 0 AND 1000000", name="warmup_steps"),
        CheckConstraint("weight_decay BETWEEN 0 AND 1", name="weight_decay"),
        CheckConstraint("grad_clip BETWEEN 0 AND 1000", name="grad_clip"),
        CheckConstraint("grad_accumulation BETWEEN 1 AND 1024", name="grad_accumulation"),
        CheckConstraint(
            "nonfinite_lr_factor >= 0 AND nonfinite_lr_factor < 1", name="nonfinite_lr_factor"
        ),
        CheckConstraint("early_stop_patience BETWEEN 0 AND 1000", name="early_stop_patience"),
        CheckConstraint("early_stop_min_delta BETWEEN 0 AND 100", name="early_stop_min_delta"),
        CheckConstraint(
            "checkpoint_every_steps BETWEEN 1 AND 100000", name="checkpoint_every_steps"
        ),
        CheckConstraint("max_attempts BETWEEN 1 AND 10", name="max_attempts"),
        CheckConstraint("samples BETWEEN 0 AND 8", name="samples"),
        CheckConstraint("cardinality(sample_prompts) IN (0, samples)", name="sample_prompts"),
        CheckConstraint("sample_tokens BETWEEN 1 AND 256", name="sample_tokens"),
        CheckConstraint("checkpoints_kept BETWEEN 1 AND 100", name="checkpoints_kept"),
        # The life of a job.
        CheckConstraint("attempt >= 0 AND (attempt = 0) = (started_at IS NULL)", name="attempt"),
        CheckConstraint(
            "failed_attempts BETWEEN 0 AND LEAST(attempt, max_attempts)", name="failed_attempts"
        ),
        CheckConstraint(
            "status IN ('queued', 'cancelled') OR started_at IS NOT NULL", name="started"
        ),
        CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name="finished",
        ),
        CheckConstraint(
            "CASE status WHEN 'running' THEN num_nulls(node, lease_owner, lease_expires_at,"
            " heartbeat_at) = 0 ELSE num_nonnulls(lease_owner, lease_expires_at) = 0 END",
            name="lease",
        ),
        CheckConstraint("next_attempt_at IS NULL OR status = 'queued'", name="next_attempt_at"),
        CheckConstraint(
            "status <> 'cancelled' OR cancel_requested_at IS NOT NULL", name="cancelled"
        ),
        # A job that publishes can't be cancelled any more, nor the other way round.
        CheckConstraint("num_nulls(cancel_requested_at, publishing_at) > 0", name="publishing"),
        CheckConstraint(
            "num_nulls(version_id, version) ="
            " CASE WHEN status = 'completed' AND replay_of IS NULL THEN 0 ELSE 2 END",
            name="completed",
        ),
        # A replay publishes nothing and ends with a verdict.
        CheckConstraint(
            "(verdict IS NOT NULL) = (status = 'completed' AND replay_of IS NOT NULL)"
            " AND jsonb_typeof(verdict) = 'object'",
            name="verdict",
        ),
        CheckConstraint("num_nulls(replay_of, publishing_at) > 0", name="replay"),
        CheckConstraint(
            "num_nulls(error_reason, error_message) = CASE status WHEN 'failed' THEN 0 ELSE 2 END",
            name="failed",
        ),
        CheckConstraint("version > 0", name="version"),
        CheckConstraint(
            "step >= 0 AND total_steps >= 0 AND step <= total_steps AND epoch >= 0"
            " AND peak_memory_bytes >= 0",
            name="progress",
        ),
        CheckConstraint("eta_seconds >= 0 AND grad_norm >= 0 AND trained_tokens >= 0", name="live"),
        CheckConstraint("last_sequence >= 0", name="last_sequence"),
        CheckConstraint(
            "traceparent ~ '^([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?$'",
            name="traceparent",
        ),
        CheckConstraint("(request_id IS NULL) = (request_digest IS NULL)", name="request"),
        UniqueConstraint("request_id"),
        UniqueConstraint("version_id"),
        Index(
            "uq_jobs_one_running", "node", unique=True, postgresql_where=text("status = 'running'")
        ),
        Index(None, "status", "id"),
        Index(None, "model_id", "id"),
        Index(None, "dataset_id"),
        Index(None, "replay_of"),
        {"schema": SCHEMA},
    )
    id: Mapped[Key]
    status: Mapped[str] = mapped_column(Text, server_default="queued")
    model_id: Mapped[int]
    dataset_id: Mapped[int]
    lora_rank: Mapped[int]
    # float4, as on the wire: what was asked for comes back digit by digit.
    learning_rate: Mapped[float] = mapped_column(REAL)
    epochs: Mapped[int]
    batch_size: Mapped[int]
    seed: Mapped[int]
    lora_scale: Mapped[float] = mapped_column(REAL)
    lora_dropout: Mapped[float] = mapped_column(REAL)
    lora_layers: Mapped[int]
    max_seq_length: Mapped[int]
    mask_prompt: Mapped[bool]
    validation_fraction: Mapped[float] = mapped_column(REAL)
    checkpoint_every_steps: Mapped[int]
    max_attempts: Mapped[int]
    attempt: Mapped[int] = mapped_column(server_default=_ZERO)
    """Rises with each claim: the fencing token."""
    failed_attempts: Mapped[int] = mapped_column(server_default=_ZERO)
    """Claims that were lost; one handed back by a shutdown is none."""
    node: Mapped[str | None] = mapped_column(Text)
    """The node of the last claim."""
    lease_owner: Mapped[str | None] = mapped_column(Text)
    lease_expires_at: Mapped[Time | None]
    heartbeat_at: Mapped[Time | None]
    cancel_requested_at: Mapped[Time | None]
    publishing_at: Mapped[Time | None]
    step: Mapped[int] = mapped_column(server_default=_ZERO)
    total_steps: Mapped[int] = mapped_column(server_default=_ZERO)
    epoch: Mapped[int] = mapped_column(server_default=_ZERO)
    loss: Mapped[float] = mapped_column(REAL, server_default=_ZERO)
    val_loss: Mapped[float | None] = mapped_column(REAL)
    tokens_per_second: Mapped[float] = mapped_column(REAL, server_default=_ZERO)
    peak_memory_bytes: Mapped[float] = mapped_column(DOUBLE_PRECISION, server_default=_ZERO)
    last_sequence: Mapped[int] = mapped_column(server_default=_ZERO)
    """Sequence of the newest event; rises in the same statement that checks the attempt."""
    error_reason: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)
    version_id: Mapped[int | None]
    version: Mapped[int | None]
    request_id: Mapped[str | None] = mapped_column(Text)
    request_digest: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Now]
    started_at: Mapped[Time | None]
    finished_at: Mapped[Time | None]
    test_fraction: Mapped[float] = mapped_column(REAL, server_default=_ZERO)
    # What jobs had before there was a choice.
    method: Mapped[str] = mapped_column(Text, server_default="lora")
    quantize_bits: Mapped[int] = mapped_column(server_default=_ZERO)
    target_keys: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    optimizer: Mapped[str] = mapped_column(Text, server_default="adamw")
    schedule: Mapped[str] = mapped_column(Text, server_default="constant")
    warmup_steps: Mapped[int] = mapped_column(server_default=_ZERO)
    weight_decay: Mapped[float] = mapped_column(REAL, server_default=text("0.01"))
    grad_clip: Mapped[float] = mapped_column(REAL, server_default=_ZERO)
    grad_accumulation: Mapped[int] = mapped_column(server_default=text("1"))
    grad_checkpoint: Mapped[bool] = mapped_column(server_default=text("false"))
    nonfinite_lr_factor: Mapped[float] = mapped_column(REAL, server_default=_ZERO)
    early_stop_patience: Mapped[int] = mapped_column(server_default=_ZERO)
    early_stop_min_delta: Mapped[float] = mapped_column(REAL, server_default=_ZERO)
    checkpoints_kept: Mapped[int] = mapped_column(server_default=text("2"))
    next_attempt_at: Mapped[Time | None]
    """Not to be claimed before; set by a lost attempt, cleared by the next claim."""
    replay_of: Mapped[int | None] = mapped_column(ForeignKey("trainer.jobs.id"))
    verdict: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """A completed replay's, as the trainer's domain encodes it."""
    retried_at: Mapped[Time | None]
    """When it last came back from its end; its place in the queue counts from then."""
    smoothed_loss: Mapped[float | None] = mapped_column(REAL)
    eta_seconds: Mapped[float | None] = mapped_column(DOUBLE_PRECISION)
    grad_norm: Mapped[float | None] = mapped_column(REAL)
    trained_tokens: Mapped[float] = mapped_column(DOUBLE_PRECISION, server_default=_ZERO)
    evaluate: Mapped[bool] = mapped_column(server_default=text("false"))
    samples: Mapped[int] = mapped_column(server_default=_ZERO)
    sample_prompts: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    sample_tokens: Mapped[int] = mapped_column(server_default=text("32"))
    traceparent: Mapped[str] = mapped_column(Text, server_default="")
    """Of the call that created it, as W3C writes it."""


class JobEventRow(Base):
    """Something a job reported; its role may only add and read."""

    __tablename__ = "job_events"
    __table_args__ = (
        CheckConstraint("sequence > 0", name="sequence"),
        CheckConstraint("attempt >= 0", name="attempt"),
        CheckConstraint(
            "kind IN ('job', 'step', 'validation', 'checkpoint', 'rate_lowered',"
            " 'weights_kept', 'cooldown_began', 'cooldown_ended', 'evaluation',"
            " 'memory_wait', 'forecast')",
            name="kind",
        ),
        CheckConstraint("jsonb_typeof(payload) = 'object'", name="payload"),
        {"schema": SCHEMA},
    )
    job_id: Mapped[int] = mapped_column(ForeignKey(JobRow.id), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    kind: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """As the trainer's domain encodes it."""
    created_at: Mapped[Now]


class ForwardRow(Base):
    """How much of a job's log the registry has heard; a job that ended may still be behind."""

    __tablename__ = "forwards"
    __table_args__ = (CheckConstraint("sequence > 0", name="sequence"), {"schema": SCHEMA})
    job_id: Mapped[int] = mapped_column(ForeignKey(JobRow.id), primary_key=True)
    sequence: Mapped[int]


trigger(
    JobRow.__table__,
    """
CREATE FUNCTION trainer.guard_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.status <> 'queued' THEN
      RAISE EXCEPTION 'a job can''t begin as %', NEW.status USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
  END IF;
  IF OLD.status IN ('completed', 'failed', 'cancelled') AND NEW.status = OLD.status
      AND to_jsonb(NEW) - 'last_sequence' <> to_jsonb(OLD) - 'last_sequence' THEN
    RAISE EXCEPTION 'a % job changes no more', OLD.status USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
    ('queued', 'running'), ('queued', 'cancelled'), ('running', 'completed'),
    ('running', 'failed'), ('running', 'cancelled'), ('running', 'queued'),
    ('failed', 'queued'), ('cancelled', 'queued')
  ) THEN
    RAISE EXCEPTION 'a job can''t go from % to %', OLD.status, NEW.status
      USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.attempt < OLD.attempt OR NEW.last_sequence < OLD.last_sequence
      OR (OLD.status = 'queued' AND NEW.status = 'running' AND NEW.attempt <= OLD.attempt) THEN
    RAISE EXCEPTION 'attempt and last_sequence only rise' USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END
$$""",
    """
CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON trainer.jobs
  FOR EACH ROW EXECUTE FUNCTION trainer.guard_job()""",
    """
CREATE FUNCTION trainer.guard_recipe() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the recipe of a job never changes' USING ERRCODE = 'check_violation';
END
$$""",
    """
CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate,
    epochs, batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length,
    mask_prompt, validation_fraction, checkpoint_every_steps, max_attempts, request_id,
    request_digest, created_at, test_fraction, method, quantize_bits, target_keys, optimizer,
    schedule, warmup_steps, weight_decay, grad_clip, grad_accumulation, grad_checkpoint,
    nonfinite_lr_factor, early_stop_patience, early_stop_min_delta, checkpoints_kept, replay_of,
    evaluate, samples, sample_prompts, sample_tokens
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe()""",
)
