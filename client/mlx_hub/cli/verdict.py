"""A replay's verdict for people: one line in short, and what may explain a difference."""

from mlx_hub.cli.output import literal, short
from mlx_hub.trainer.v1 import replay_pb2 as pb
from mlx_hub.trainer.v1.training_job_pb2 import TrainingJob
from rich.console import Console
from rich.table import Table


def is_same(job: TrainingJob) -> bool:
    """Whether a replay made the bytes of the original."""
    return job.verdict.outcome == pb.REPLAY_OUTCOME_SAME


def in_short(job: TrainingJob) -> str:
    """What a replay found, in a few words; empty before its end."""
    match job.verdict.outcome:
        case pb.REPLAY_OUTCOME_SAME:
            return "same"
        case pb.REPLAY_OUTCOME_DIFFERS:
            return f"differs at step {job.verdict.step}"
        case pb.REPLAY_OUTCOME_DIFFERS_AFTER_LAST_LOSS:
            return "differs after the last loss"
    return ""


def in_full(job: TrainingJob) -> str:
    """What a replay found, in one line."""
    verdict = job.verdict
    told = f"replay of job {job.replay_of}: {in_short(job)}"
    match verdict.outcome:
        case pb.REPLAY_OUTCOME_SAME:
            return f"{told}: {short(verdict.original_digest)}, {_compared(verdict)}"
        case pb.REPLAY_OUTCOME_DIFFERS:
            then = str(verdict.original_loss) if verdict.HasField("original_loss") else "none"
            now = str(verdict.replayed_loss) if verdict.HasField("replayed_loss") else "none"
            return f"{told}: loss {then} then, {now} now; {_compared(verdict)}"
        case _:
            files = ", ".join(verdict.differing_files)
            return f"{told}, in {files}; {_compared(verdict)}"


def print_differences(job: TrainingJob, ui: Console) -> None:
    """Print what is not as it was."""
    if not job.verdict.differences:
        ui.print(literal("recipe and environment are as they were recorded"))
        return
    table = Table("NOT AS IT WAS", "THEN", "NOW", box=None, pad_edge=False)
    for difference in job.verdict.differences:
        values = (value or "not recorded" for value in (difference.then, difference.now))
        table.add_row(*map(literal, (difference.name, *values)))
    ui.print(table)


def _compared(verdict: pb.ReplayVerdict) -> str:
    return f"{verdict.compared_steps} of {verdict.steps} losses compared"
