"""Whether a part of the stack answers; `python -m services.stack.readiness NAME` for probes."""

import http.client
import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.chassis.settings import load
from services.chassis.system import peers
from services.stack.ports import HOST
from services.stack.settings import StackSettings


def service_serves(settings: StackSettings, name: str) -> bool:
    """Ask a service's own health by its full name."""
    peer = next(peer for peer in peers(settings) if peer.name == name)
    with grpc.insecure_channel(peer.address) as channel:
        request = health_pb2.HealthCheckRequest(service=peer.service)
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            reply = stub.Check(request, timeout=1)
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def gateway_serves(settings: StackSettings) -> bool:
    """Ask the gateway for the health of everything."""
    return _says_yes(settings.nearest, settings.port, "/health")


def prometheus_serves(settings: StackSettings) -> bool:
    """Ask Prometheus whether it has read its data and its rules."""
    return _says_yes(HOST, settings.prometheus_port, "/-/ready")


def _says_yes(host: str, port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main(name: str) -> int:
    """Give 0 when the part serves, as a container's health check wants it."""
    settings = load(StackSettings)
    serves = gateway_serves(settings) if name == "gateway" else service_serves(settings, name)
    return 0 if serves else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
