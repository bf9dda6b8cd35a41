"""Between the contract's messages and a job's log."""

from mlx_hub.trainer.v1 import training_log_pb2 as pb

from services.chassis.errors import HubError
from services.chassis.status import to_status
from services.trainer import messages
from services.trainer.domain import TrainingJob
from services.trainer.joblog.lines import Level, Line, Source

_LEVEL = {level: pb.TrainingLogLevel.Value(f"TRAINING_LOG_LEVEL_{level.name}") for level in Level}
_SOURCE = {
    source: pb.TrainingLogSource.Value(f"TRAINING_LOG_SOURCE_{source.name}") for source in Source
}


def filters(request: pb.ListTrainingJobLogsRequest) -> dict[str, str]:
    """Give what a page token belongs to."""
    names = ("job_id", "after_sequence", "newest_first")
    return {name: str(getattr(request, name)) for name in names}


def line_to_proto(line: Line) -> pb.TrainingLogLine:
    """Render a line."""
    return pb.TrainingLogLine(
        sequence=line.sequence,
        created_at=messages.timestamp(line.created_at),
        attempt=line.attempt,
        level=_LEVEL[line.draft.level],
        source=_SOURCE[line.draft.source],
        message=line.draft.message,
    )


def log_frame(item: Line | TrainingJob | HubError) -> pb.TrainingLogEvent:
    """Render one frame of a tail; an error is the last."""
    match item:
        case Line():
            return pb.TrainingLogEvent(line=line_to_proto(item))
        case TrainingJob():
            return pb.TrainingLogEvent(ended=messages.job_to_proto(item))
    return pb.TrainingLogEvent(error=to_status(item))
