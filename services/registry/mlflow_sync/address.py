"""Where MLflow is, and how long it may take."""

STATEMENT_S = 15
BOUNDS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the outbox tries again
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "60",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def is_database(uri: str) -> bool:
    """Tell a store without a server."""
    return uri.startswith("postgres")


def with_bounds(uri: str) -> str:
    """Name the driver we have, and let no connection and no statement wait for ever."""
    if not is_database(uri):
        return uri
    scheme, _, rest = uri.partition("://")
    statement = f"options=-c%20statement_timeout%3D{STATEMENT_S * 1000}"
    bounds = f"connect_timeout=5&tcp_user_timeout=10000&{statement}"
    driver = scheme if "+" in scheme else "postgresql+psycopg"
    return f"{driver}://{rest}{'&' if '?' in rest else '?'}{bounds}"
