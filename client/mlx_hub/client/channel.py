"""Settings of the one channel that a hub holds."""

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
