"""TrainingRecordService."""

from mlx_hub.registry.v1 import training_record_pb2 as pb
from mlx_hub.registry.v1 import training_record_service_pb2_grpc as pb_grpc

from services.chassis.requests import Context
from services.registry.messages.training import record_from_proto
from services.registry.store.training import TrainingRecords


class TrainingRecordServicer(pb_grpc.TrainingRecordServiceServicer):
    """Hears what happened to training jobs."""

    def __init__(self, records: TrainingRecords) -> None:
        """Take what keeps the facts."""
        self._records = records

    async def RecordTrainingFacts(
        self, request: pb.RecordTrainingFactsRequest, context: Context
    ) -> pb.RecordTrainingFactsResponse:
        """Take facts of one job."""
        last = await self._records.record(record_from_proto(request))
        return pb.RecordTrainingFactsResponse(last_sequence=last)
