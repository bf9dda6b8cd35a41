"""Settings of the one channel that a hub holds."""

import os

#: Seconds until a call gives up, unless the caller says otherwise.
DEFAULT_TIMEOUT = 30.0

OPTIONS: tuple[tuple[str, int], ...] = (
    # A proxy of the environment is for the web, not for a hub on this machine.
    ("grpc.enable_http_proxy", 0),
    # Repeats follow the policy in retry.py, not a second one below it.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


def metadata(caller: str | None) -> tuple[tuple[str, str], ...]:
    """What every call says of who makes it: a name as given, else MLX_HUB_CALLER, else nothing."""
    name = caller or os.environ.get("MLX_HUB_CALLER")
    return (("x-mlx-hub-caller", name),) if name else ()
