"""Evaluations, their trend and the gate on the wire."""

from mlx_hub.registry.v1 import evaluation_pb2 as evaluation_pb
from mlx_hub.registry.v1 import promotion_gate_pb2 as gate_pb
from mlx_hub.registry.v1 import quality_service_pb2 as pb
from mlx_hub.registry.v1 import quality_trend_pb2 as trend_pb

from services.registry.lifecycle import own_alias
from services.registry.messages.times import to_timestamp
from services.registry.quality import (
    Direction,
    Evaluation,
    EvaluationFilter,
    Gate,
    GateRule,
    NewEvaluation,
    Split,
)
from services.registry.trend import Change, Point, Series, Trend

SPLIT = {
    Split.TRAIN: evaluation_pb.EVALUATION_SPLIT_TRAIN,
    Split.VALID: evaluation_pb.EVALUATION_SPLIT_VALID,
    Split.TEST: evaluation_pb.EVALUATION_SPLIT_TEST,
    Split.ALL: evaluation_pb.EVALUATION_SPLIT_ALL,
}
DIRECTION = {
    Direction.LOWER: gate_pb.METRIC_DIRECTION_LOWER_IS_BETTER,
    Direction.HIGHER: gate_pb.METRIC_DIRECTION_HIGHER_IS_BETTER,
}
CHANGE = {
    Change.BETTER: trend_pb.QUALITY_CHANGE_BETTER,
    Change.SAME: trend_pb.QUALITY_CHANGE_SAME,
    Change.WORSE: trend_pb.QUALITY_CHANGE_WORSE,
}
NO_DIRECTION = gate_pb.METRIC_DIRECTION_UNSPECIFIED
NO_CHANGE = trend_pb.QUALITY_CHANGE_UNSPECIFIED
SPLITS = {value: split for split, value in SPLIT.items()}
_DIRECTIONS = {value: direction for direction, value in DIRECTION.items()}


def new_evaluation(
    request: pb.RecordEvaluationRequest, request_id: str, digest: str
) -> NewEvaluation:
    """Read what was measured."""
    return NewEvaluation(
        model_id=request.model_id,
        version=request.version,
        metric=request.metric,
        value=request.value,
        dataset_id=request.dataset_id,
        split=SPLITS[request.split],
        how=dict(request.how),
        request_id=request_id,
        request_digest=digest,
    )


def gate_rule(request: pb.SetPromotionGateRequest) -> GateRule:
    """Read a gate; its aliases are those that a promotion could move."""
    return GateRule(
        model_id=request.model_id,
        metric=request.metric,
        direction=_DIRECTIONS[request.direction],
        tolerance=request.tolerance,
        dataset_id=request.dataset_id,
        split=SPLITS[request.split],
        aliases=tuple(sorted({own_alias(alias, "aliases") for alias in request.aliases})),
    )


def evaluation_filter(request: pb.ListEvaluationsRequest) -> EvaluationFilter:
    """Read what a list is narrowed to."""
    return EvaluationFilter(request.version, request.metric, request.dataset_id)


def trend_filter(request: pb.GetQualityTrendRequest) -> EvaluationFilter:
    """Read what a trend is narrowed to."""
    return EvaluationFilter(metric=request.metric, dataset_id=request.dataset_id)


def to_evaluation(evaluation: Evaluation) -> evaluation_pb.Evaluation:
    """Write an evaluation."""
    return evaluation_pb.Evaluation(
        id=evaluation.id,
        model_id=evaluation.model_id,
        version=evaluation.subject.version,
        subject_digest=evaluation.subject.digest,
        metric=evaluation.measure.metric,
        value=evaluation.value,
        dataset_id=evaluation.dataset_id,
        dataset_digest=evaluation.measure.dataset_digest,
        split=SPLIT[evaluation.measure.split],
        how=evaluation.how,
        created_at=to_timestamp(evaluation.created_at),
    )


def to_gate(gate: Gate) -> gate_pb.PromotionGate:
    """Write a gate."""
    rule = gate.rule
    return gate_pb.PromotionGate(
        model_id=rule.model_id,
        metric=rule.metric,
        direction=DIRECTION[rule.direction],
        tolerance=rule.tolerance,
        dataset_id=rule.dataset_id,
        dataset_digest=gate.dataset_digest,
        split=SPLIT[rule.split],
        aliases=rule.aliases,
        updated_at=to_timestamp(gate.updated_at),
    )


def to_trend(trend: Trend) -> trend_pb.QualityTrend:
    """Write a trend."""
    return trend_pb.QualityTrend(
        model_id=trend.model_id,
        series=[_series(series) for series in trend.series],
        truncated=trend.truncated,
    )


def _series(series: Series) -> trend_pb.QualitySeries:
    return trend_pb.QualitySeries(
        metric=series.measure.metric,
        dataset_id=series.dataset_id,
        dataset_digest=series.measure.dataset_digest,
        split=SPLIT[series.measure.split],
        direction=DIRECTION[series.direction] if series.direction else NO_DIRECTION,
        base_value=series.base_value,
        points=[_point(point) for point in series.points],
    )


def _point(point: Point) -> trend_pb.QualityPoint:
    return trend_pb.QualityPoint(
        version=point.evaluation.subject.version,
        value=point.evaluation.value,
        aliases=point.aliases,
        delta_previous=point.delta_previous,
        delta_base=point.delta_base,
        change=CHANGE[point.change] if point.change else NO_CHANGE,
        evaluation_id=point.evaluation.id,
        evaluated_at=to_timestamp(point.evaluation.created_at),
    )
