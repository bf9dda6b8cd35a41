"""Calls about how good versions are: evaluations, their trend, and the promotion gate."""

from collections.abc import Iterable, Mapping
from uuid import uuid4

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.empty_pb2 import Empty
from mlx_hub.client.contract import Call, Pages, method
from mlx_hub.registry.v1 import quality_service_pb2 as pb
from mlx_hub.registry.v1.evaluation_pb2 import Evaluation, EvaluationSplit
from mlx_hub.registry.v1.promotion_gate_pb2 import MetricDirection, PromotionGate
from mlx_hub.registry.v1.quality_trend_pb2 import QualityTrend
from mlx_hub.registry.v1.version_sample_pb2 import (
    ListVersionSamplesRequest,
    ListVersionSamplesResponse,
)


def _rpc(name: str) -> MethodDescriptor:
    return method(pb.DESCRIPTOR, "QualityService", name)


def _split(name: str) -> EvaluationSplit.ValueType:
    return EvaluationSplit.Value(f"EVALUATION_SPLIT_{name.upper()}")


def record_evaluation(
    model_id: int,
    version: int | str,
    metric: str,
    value: float,
    *,
    dataset_id: int,
    split: str,
    how: Mapping[str, str] | None = None,
    request_id: str | None = None,
) -> Call[Evaluation]:
    """Record a value measured for a version, or for `base`, the model's base model alone.

    `split` says on which rows of the dataset: `train`, `valid`, `test` or `all`.
    """
    request = pb.RecordEvaluationRequest(
        model_id=model_id,
        version=str(version),
        metric=metric,
        value=value,
        dataset_id=dataset_id,
        split=_split(split),
        how=how,
        request_id=request_id or str(uuid4()),
    )
    return Call(_rpc("RecordEvaluation"), request, Evaluation)


def get_evaluation(model_id: int, evaluation_id: int) -> Call[Evaluation]:
    """Get one evaluation."""
    request = pb.GetEvaluationRequest(model_id=model_id, evaluation_id=evaluation_id)
    return Call(_rpc("GetEvaluation"), request, Evaluation)


def list_evaluations(
    model_id: int,
    *,
    version: int | str = "",
    metric: str = "",
    dataset_id: int = 0,
    page_size: int = 0,
) -> Pages[pb.ListEvaluationsResponse, Evaluation]:
    """List a model's evaluations, newest first."""
    request = pb.ListEvaluationsRequest(
        model_id=model_id,
        page_size=page_size,
        version=str(version),
        metric=metric,
        dataset_id=dataset_id,
    )
    call = Call(_rpc("ListEvaluations"), request, pb.ListEvaluationsResponse)
    return Pages(call, lambda page: page.evaluations, lambda page: page.next_page_token)


def quality_trend(
    model_id: int, *, metric: str = "", dataset_id: int = 0, versions: int = 0
) -> Call[QualityTrend]:
    """Show each metric over the model's newest versions; 0 versions are the hub's default."""
    request = pb.GetQualityTrendRequest(
        model_id=model_id, metric=metric, dataset_id=dataset_id, versions=versions
    )
    return Call(_rpc("GetQualityTrend"), request, QualityTrend)


def version_samples(
    model_id: int, version: int | str = "latest"
) -> Call[ListVersionSamplesResponse]:
    """List what base model and version answered to the same prompts when it was trained."""
    request = ListVersionSamplesRequest(model_id=model_id, version=str(version))
    return Call(_rpc("ListVersionSamples"), request, ListVersionSamplesResponse)


def set_promotion_gate(
    model_id: int,
    metric: str,
    *,
    direction: str,
    dataset_id: int,
    split: str,
    tolerance: float = 0.0,
    aliases: Iterable[str] = (),
) -> Call[PromotionGate]:
    """Let no version be promoted that is worse; `direction` of what is better: `lower`, `higher`.

    Without `aliases` it guards every alias.
    """
    request = pb.SetPromotionGateRequest(
        model_id=model_id,
        metric=metric,
        direction=MetricDirection.Value(f"METRIC_DIRECTION_{direction.upper()}_IS_BETTER"),
        tolerance=tolerance,
        dataset_id=dataset_id,
        split=_split(split),
        aliases=aliases,
    )
    return Call(_rpc("SetPromotionGate"), request, PromotionGate)


def get_promotion_gate(model_id: int) -> Call[PromotionGate]:
    """Get the model's gate."""
    request = pb.GetPromotionGateRequest(model_id=model_id)
    return Call(_rpc("GetPromotionGate"), request, PromotionGate)


def delete_promotion_gate(model_id: int) -> Call[Empty]:
    """Remove the model's gate."""
    request = pb.DeletePromotionGateRequest(model_id=model_id)
    return Call(_rpc("DeletePromotionGate"), request, Empty)
