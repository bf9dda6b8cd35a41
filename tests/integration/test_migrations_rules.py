"""What Postgres itself refuses: each case on one seeded database, in a transaction taken back."""

import itertools
import json

from psycopg import errors

from services.registry import domain as registry
from services.trainer import domain as trainer
from tests.fixtures.seeded import Database

RUN = "node = 'n', lease_owner = 'o', lease_expires_at = now(), heartbeat_at = now()"
NO_LEASE = "lease_owner = NULL, lease_expires_at = NULL"
NO_END = "finished_at = NULL, cancel_requested_at = NULL, error_reason = NULL, error_message = NULL"
END = f"finished_at = now(), {NO_LEASE}"
JOB_STATUS = {
    "queued": f"status = 'queued', {NO_LEASE}, {NO_END}",
    "running": f"status = 'running', attempt = attempt + 1, started_at = now(), {RUN}",
    "completed": f"status = 'completed', version_id = 1, version = 1, {END}",
    "failed": f"status = 'failed', error_reason = 'X', error_message = 'x', {END}",
    "cancelled": f"status = 'cancelled', cancel_requested_at = now(), {END}",
}
JOB_PATHS = {"queued": (), "running": ("running",), "cancelled": ("cancelled",)} | {
    status: ("running", status) for status in ("completed", "failed")
}
VERSION_PATHS = {"pending": (), "ready": ("ready",), "archived": ("ready", "archived")} | {
    "failed": ("failed",)
}


def job(changes: str, identifier: int = 1) -> str:
    return " ".join(["UPDATE trainer.jobs SET", changes, "WHERE id =", str(identifier)])


def model(changes: str) -> str:
    return " ".join(["UPDATE registry.models SET", changes])


def version(changes: str) -> str:
    return " ".join(["UPDATE registry.versions SET", changes])


def test_versions_go_where_the_domain_lets_them(seeded: Database) -> None:
    for old, new in itertools.product(registry.VersionStatus, repeat=2):
        path = [version(f"status = '{status}'") for status in VERSION_PATHS[old]]
        refusal = seeded.refusal(*path, version(f"status = '{new}'"))
        legal = new is old or new in registry.TRANSITIONS[old]
        assert legal is (refusal is None), (old, new, refusal)
        assert legal or isinstance(refusal, errors.CheckViolation)


def test_jobs_go_where_the_domain_lets_them(seeded: Database) -> None:
    for old, new in itertools.permutations(trainer.JobStatus, 2):
        path = [job(JOB_STATUS[status]) for status in JOB_PATHS[old]]
        refusal = seeded.refusal(*path, job(JOB_STATUS[new]))
        legal = new in trainer.LEGAL[old]
        assert legal is (refusal is None), (old, new, refusal)
        assert legal or isinstance(refusal, errors.CheckViolation)


def test_a_ready_version_is_immutable(seeded: Database) -> None:
    for change in (
        "checksum = repeat('d', 64)",
        "artifact_path = 'elsewhere'",
        """metrics = '{"loss": 1}'""",
        """lineage = '{"seed": 1}'""",
        "job_id = 2",
        "created_at = now() + interval '1 day'",
    ):
        refusal = seeded.refusal(version("status = 'ready'"), version(change))
        assert isinstance(refusal, errors.CheckViolation), change
        assert "immutable" in str(refusal)


def test_what_must_not_be_is_refused(seeded: Database) -> None:
    for change in (
        "status = 'running', attempt = 1, started_at = now()",  # no lease
        f"status = 'running', {RUN}",  # no new attempt
        "lease_owner = 'o'",
        "finished_at = now()",
        "version_id = 1, version = 1",
        "error_reason = 'X', error_message = 'x'",
        "cancel_requested_at = now(), publishing_at = now()",
        "failed_attempts = 1",
        "step = 2, total_steps = 1",
        "last_sequence = -1",
        "seed = 1",  # the recipe
        "grad_clip = 1",
        "sample_prompts = '{x}'",
        "max_attempts = 4",
        "checkpoints_kept = 3",
        f"{JOB_STATUS['running']}, next_attempt_at = now()",
        "model_id = 1",
    ):
        assert isinstance(seeded.refusal(job(change)), errors.CheckViolation), change


def test_a_base_model_comes_from_somewhere_known(seeded: Database) -> None:
    update = "UPDATE registry.base_models SET source = '{}', source_revision = '{}'"
    for known in (
        ("", ""),
        ("folder", ""),
        ("gguf", ""),
        ("wheel:w", "1"),
        ("huggingface:a/b", "c"),
    ):
        assert seeded.refusal(update.format(*known)) is None, known
    for odd in (("", "c"), ("folder", "c"), ("disk", ""), ("wheel:", ""), ("huggingface:a b", "")):
        assert isinstance(seeded.refusal(update.format(*odd)), errors.CheckViolation), odd


def test_one_job_runs_on_a_node(seeded: Database) -> None:
    running, elsewhere = JOB_STATUS["running"], JOB_STATUS["running"].replace("'n'", "'other'")
    refusal = seeded.refusal(job(running), job(running, 2))
    assert isinstance(refusal, errors.UniqueViolation)
    assert seeded.refusal(job(running), job(elsewhere, 2)) is None


def test_the_attempt_of_a_job_never_falls(seeded: Database) -> None:
    refusal = seeded.refusal(job(JOB_STATUS["running"]), job("attempt = 0"))
    assert isinstance(refusal, errors.CheckViolation)


def copy(table: str, **changes: object) -> str:
    """Insert a row again with some of its columns changed."""
    changed = json.dumps({"id": 9, **changes})
    row = f"(jsonb_populate_record(NULL::{table}, to_jsonb(t) || '{changed}')).*"
    into = f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT"
    return " ".join([into, row, "FROM", table, "t WHERE id = 1"])


def test_what_begins_begins_at_the_beginning(seeded: Database) -> None:
    for statement in (
        copy("trainer.jobs", status="completed"),
        copy("registry.versions", version=2, job_id=2, status="failed"),
    ):
        refusal = seeded.refusal(statement)
        assert isinstance(refusal, errors.CheckViolation)
        assert "begin" in str(refusal)
    ready = copy("registry.versions", version=2, job_id=2, status="ready")
    assert seeded.refusal(job(JOB_STATUS["running"], 2), ready) is None


def test_a_role_keeps_to_its_own_tables(seeded: Database) -> None:
    for role, statement in (
        ("mlx_hub_registry", "SELECT FROM trainer.jobs"),
        ("mlx_hub_registry", "DELETE FROM registry.models"),
        ("mlx_hub_registry", "DELETE FROM registry.versions"),
        ("mlx_hub_trainer", "DELETE FROM registry.datasets"),
        ("mlx_hub_registry", "UPDATE registry.model_events SET version = 0"),
        ("mlx_hub_registry", "DELETE FROM registry.model_events"),
        ("mlx_hub_registry", "UPDATE registry.evaluations SET value = 0"),
        ("mlx_hub_registry", "DELETE FROM registry.evaluations"),
        ("mlx_hub_registry", "UPDATE registry.version_samples SET text = ''"),
        ("mlx_hub_trainer", "SELECT FROM registry.version_samples"),
        ("mlx_hub_trainer", "SELECT FROM registry.evaluations"),
        ("mlx_hub_trainer", "DELETE FROM registry.promotion_gates"),
        ("mlx_hub_trainer", "DELETE FROM registry.version_aliases"),
        ("mlx_hub_registry", "CREATE TABLE registry.mine ()"),
        ("mlx_hub_registry", "UPDATE public.mlx_hub_alembic_version SET version_num = 'x'"),
        ("mlx_hub_trainer", "SELECT FROM registry.models"),
        ("mlx_hub_trainer", "INSERT INTO registry.models DEFAULT VALUES"),
        ("mlx_hub_trainer", "UPDATE trainer.job_events SET attempt = 1"),
        ("mlx_hub_trainer", "CREATE TABLE public.mine ()"),
    ):
        refusal = seeded.refusal(f"SET ROLE {role}", statement)
        assert isinstance(refusal, errors.InsufficientPrivilege), statement


def test_keys_hold_across_schemas_without_rights_there(seeded: Database) -> None:
    """The check is Postgres's own: a role needs no look at the other's tables for it."""
    columns = "model_id, version, status, job_id, attempt, dataset_id, base_model_id,"
    columns += " artifact_path, checksum, size_bytes, lineage"
    insert = f"INSERT INTO registry.versions ({columns}) VALUES"
    row = "(1, 2, 'ready', {}, 1, 1, 1, 'v', repeat('c', 64), 1, '{{}}')"
    become = "SET ROLE mlx_hub_registry"
    claim = job(JOB_STATUS["running"], 2)
    assert seeded.refusal(claim, become, f"{insert} {row.format(2)}") is None
    refusal = seeded.refusal(become, f"{insert} {row.format(99)}")
    assert isinstance(refusal, errors.ForeignKeyViolation)


MEASURED = """
INSERT INTO registry.evaluations (model_id, version, subject_digest, metric, value, dataset_id,
  dataset_digest, split) VALUES (1, {}, repeat('c', 64), 'val_loss', {}, 1, repeat('b', 64), '{}')
"""
GATE = """
INSERT INTO registry.promotion_gates (model_id, metric, direction, tolerance, dataset_id, split,
  aliases) VALUES (1, 'val_loss', 'lower', {}, 1, 'valid', '{{}}')
"""


def test_what_can_be_compared_is_a_number_of_something_that_exists(seeded: Database) -> None:
    for version_of, value, split in (("1", "0.5", "valid"), ("NULL", "-1e308", "all")):
        assert seeded.refusal(MEASURED.format(version_of, value, split)) is None
    for value in ("'NaN'", "'Infinity'", "'-Infinity'"):
        refusal = seeded.refusal(MEASURED.format("1", value, "valid"))
        assert isinstance(refusal, errors.CheckViolation), value
    refusal = seeded.refusal(MEASURED.format("1", "0.5", "some"))
    assert isinstance(refusal, errors.CheckViolation)
    refusal = seeded.refusal(MEASURED.format("2", "0.5", "valid"))
    assert isinstance(refusal, errors.ForeignKeyViolation)
    assert seeded.refusal(GATE.format("0")) is None
    assert isinstance(seeded.refusal(GATE.format("0"), GATE.format("0")), errors.UniqueViolation)
    for tolerance in ("-0.1", "'NaN'", "'Infinity'"):
        assert isinstance(seeded.refusal(GATE.format(tolerance)), errors.CheckViolation)


def test_a_dataset_stays_while_something_refers_to_it(seeded: Database) -> None:
    """The one who deletes sees only half of what may refer to it."""
    become, remove = "SET ROLE mlx_hub_registry", "DELETE FROM registry.datasets"
    assert isinstance(seeded.refusal(become, remove), errors.ForeignKeyViolation)
    unused = copy("registry.datasets", name="unused")
    assert seeded.refusal(unused, become, f"{remove} WHERE name = 'unused'") is None


DELETE = model("deleted_at = now()")
BOTH_END = " ".join(["UPDATE trainer.jobs SET", JOB_STATUS["cancelled"]])


def test_a_model_is_deleted_once_and_for_all(seeded: Database) -> None:
    assert seeded.refusal(BOTH_END, DELETE) is None
    for change in ("description = 'x'", "deleted_at = NULL", "mlflow_experiment_id = '7'"):
        refusal = seeded.refusal(BOTH_END, DELETE, model(change))
        assert isinstance(refusal, errors.CheckViolation), change
    for change in ("name = 'other'", "base_model_id = 2"):
        refusal = seeded.refusal(model(change))
        assert isinstance(refusal, errors.CheckViolation), change


def test_deletion_keeps_the_promise_of_the_jobs_key(seeded: Database) -> None:
    """Each role meets the rule, though it can't read the other side."""
    as_registry, as_trainer = "SET ROLE mlx_hub_registry", "SET ROLE mlx_hub_trainer"
    for state in ("queued", "running"):
        path = [job(JOB_STATUS[step]) for step in JOB_PATHS[state]]
        refusal = seeded.refusal(*path, as_registry, DELETE)
        assert isinstance(refusal, errors.ForeignKeyViolation), state
        assert refusal.diag.constraint_name == "fk_jobs_model_id"
    again = copy("trainer.jobs", status="queued", cancel_requested_at=None, finished_at=None)
    refusal = seeded.refusal(BOTH_END, DELETE, again)
    assert isinstance(refusal, errors.ForeignKeyViolation)
    assert refusal.diag.constraint_name == "fk_jobs_model_id"
    assert seeded.refusal(BOTH_END, as_registry, DELETE) is None
    assert seeded.refusal(as_trainer, again) is None


def test_events_of_a_version_name_it(seeded: Database) -> None:
    insert = "INSERT INTO registry.model_events (model_id, type, version) VALUES (1, '{}', {})"
    of_model = {"created", "updated", "gate_set", "gate_deleted"}
    of_both = {"evaluated"}  # of the base model too
    for kind in registry.EventType:
        assert (seeded.refusal(insert.format(kind, 0)) is None) is (kind in of_model | of_both)
        assert (seeded.refusal(insert.format(kind, 1)) is None) is (kind not in of_model)
