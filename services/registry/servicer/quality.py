"""QualityService: evaluations, their trend and the gate."""

from google.protobuf.empty_pb2 import Empty
from mlx_hub.registry.v1 import evaluation_pb2 as evaluation_pb
from mlx_hub.registry.v1 import promotion_gate_pb2 as gate_pb
from mlx_hub.registry.v1 import quality_service_pb2 as pb
from mlx_hub.registry.v1 import quality_service_pb2_grpc as pb_grpc
from mlx_hub.registry.v1 import quality_trend_pb2 as trend_pb
from mlx_hub.registry.v1 import version_sample_pb2 as sample_pb

from services.chassis import requests
from services.chassis.paging import page_size
from services.chassis.requests import Context
from services.registry.domain import MAX_ID
from services.registry.messages.findings import to_sample
from services.registry.messages.quality import (
    evaluation_filter,
    gate_rule,
    new_evaluation,
    to_evaluation,
    to_gate,
    to_trend,
    trend_filter,
)
from services.registry.servicer.pages import cursor, next_token
from services.registry.store.quality import QualityStore


class QualityServicer(pb_grpc.QualityServiceServicer):
    """Serves evaluations and gates; every rule lives below."""

    def __init__(self, quality: QualityStore) -> None:
        """Take what does the work."""
        self._quality = quality

    async def RecordEvaluation(
        self, request: pb.RecordEvaluationRequest, context: Context
    ) -> evaluation_pb.Evaluation:
        """Record a measured value."""
        identifier = requests.request_id(request, context)
        new = new_evaluation(request, identifier, requests.body_digest(request))
        evaluation = await self._quality.record(new)
        location = f"/models/{evaluation.model_id}/evaluations/{evaluation.id}"
        await requests.created(context, location)
        return to_evaluation(evaluation)

    async def ListEvaluations(
        self, request: pb.ListEvaluationsRequest, context: Context
    ) -> pb.ListEvaluationsResponse:
        """List a model's evaluations, newest first."""
        wanted = evaluation_filter(request)
        key = {"list": "evaluations", "model_id": str(request.model_id), **wanted.as_map()}
        before = cursor(request.page_token, key, first=MAX_ID)
        size = page_size(request.page_size)
        page = await self._quality.page(request.model_id, wanted, before, size)
        return pb.ListEvaluationsResponse(
            evaluations=[to_evaluation(evaluation) for evaluation in page.items],
            next_page_token=next_token(page, key, "id"),
        )

    async def GetEvaluation(
        self, request: pb.GetEvaluationRequest, context: Context
    ) -> evaluation_pb.Evaluation:
        """Get one evaluation."""
        return to_evaluation(await self._quality.get(request.model_id, request.evaluation_id))

    async def GetQualityTrend(
        self, request: pb.GetQualityTrendRequest, context: Context
    ) -> trend_pb.QualityTrend:
        """Show each metric over the versions."""
        versions = page_size(request.versions)
        trend = await self._quality.trend(request.model_id, trend_filter(request), versions)
        return to_trend(trend)

    async def ListVersionSamples(
        self, request: sample_pb.ListVersionSamplesRequest, context: Context
    ) -> sample_pb.ListVersionSamplesResponse:
        """List what base model and version answered."""
        number, samples = await self._quality.samples(request.model_id, request.version)
        return sample_pb.ListVersionSamplesResponse(
            model_id=request.model_id,
            version=number,
            samples=[to_sample(sample) for sample in samples],
        )

    async def SetPromotionGate(
        self, request: pb.SetPromotionGateRequest, context: Context
    ) -> gate_pb.PromotionGate:
        """Give a model its gate."""
        return to_gate(await self._quality.set_gate(gate_rule(request)))

    async def GetPromotionGate(
        self, request: pb.GetPromotionGateRequest, context: Context
    ) -> gate_pb.PromotionGate:
        """Get a model's gate."""
        return to_gate(await self._quality.gate(request.model_id))

    async def DeletePromotionGate(
        self, request: pb.DeletePromotionGateRequest, context: Context
    ) -> Empty:
        """Remove a model's gate."""
        await self._quality.delete_gate(request.model_id)
        return Empty()
