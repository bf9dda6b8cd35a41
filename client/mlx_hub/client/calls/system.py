"""Calls about the hub itself."""

from google.api.httpbody_pb2 import HttpBody
from mlx_hub.client.contract import Call, method
from mlx_hub.system.v1 import system_service_pb2 as pb
from mlx_hub.system.v1.system_service_pb2 import Health


def get_health() -> Call[Health]:
    """Ask how each service is."""
    return Call(method(pb.DESCRIPTOR, "SystemService", "GetHealth"), pb.GetHealthRequest(), Health)


def get_metrics() -> Call[HttpBody]:
    """Ask for the Prometheus metrics of every service in one text."""
    return Call(
        method(pb.DESCRIPTOR, "SystemService", "GetMetrics"), pb.GetMetricsRequest(), HttpBody
    )
