"""What Postgres itself refuses of replays and retries."""

import psycopg
from psycopg import errors

from tests.fixtures.seeded import Database
from tests.integration.test_migrations_rules import END, JOB_PATHS, JOB_STATUS, copy, job, model


def test_a_replay_ends_with_a_verdict_and_no_version(seeded: Database) -> None:
    def replay(*changes: str) -> psycopg.Error | None:
        return seeded.refusal(copy("trainer.jobs", replay_of=1), *(job(c, 9) for c in changes))

    running, completed = JOB_STATUS["running"], f"status = 'completed', {END}"
    assert replay(running, f"{completed}, verdict = '{{}}'") is None
    for wrong in (
        completed,
        f"{completed}, verdict = '[]'",
        f"{completed}, verdict = '{{}}', version_id = 1, version = 1",
        JOB_STATUS["completed"],
        "verdict = '{}'",
        "publishing_at = now()",
    ):
        assert isinstance(replay(running, wrong), errors.CheckViolation), wrong
    refusal = seeded.refusal(copy("trainer.jobs", replay_of=99))
    assert isinstance(refusal, errors.ForeignKeyViolation)


def test_an_ordinary_job_becomes_no_replay(seeded: Database) -> None:
    for change in ("replay_of = 2", "verdict = '{}'"):
        assert isinstance(seeded.refusal(job(change)), errors.CheckViolation), change


def test_a_job_of_a_deleted_model_stays_ended(seeded: Database) -> None:
    """The role meets the rule, though it can't read the other side."""
    for status in ("failed", "cancelled"):
        path = [job(JOB_STATUS[step]) for step in JOB_PATHS[status]]
        others = (job(JOB_STATUS["cancelled"], number) for number in (2, 3))
        delete, become = model("deleted_at = now()"), "SET ROLE mlx_hub_trainer"
        refusal = seeded.refusal(*path, *others, delete, become, job(JOB_STATUS["queued"]))
        assert isinstance(refusal, errors.ForeignKeyViolation), status
        assert refusal.diag.constraint_name == "fk_jobs_model_id"


def test_an_ended_job_changes_by_a_retry_alone(seeded: Database) -> None:
    for status in ("failed", "cancelled"):
        path = [job(JOB_STATUS[step]) for step in JOB_PATHS[status]]
        refusal = seeded.refusal(*path, job("step = 0, total_steps = 1"))
        assert isinstance(refusal, errors.CheckViolation), status
        assert seeded.refusal(*path, job(f"{JOB_STATUS['queued']}, retried_at = now()")) is None
