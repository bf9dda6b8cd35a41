# MLflow's whole server with its UI, from its own lock file.
# Build it from the repository's root: docker build --file deploy/mlflow.Dockerfile .
FROM python:3.12.12-slim-bookworm AS build
WORKDIR /opt/mlx-hub
COPY .python-version requirements-mlflow.lock requirements-uv.lock ./
COPY scripts/bootstrap.sh scripts/
RUN scripts/bootstrap.sh mlflow

FROM python:3.12.12-slim-bookworm
RUN groupadd --gid 10001 mlflow \
  && useradd --uid 10001 --gid 10001 --home-dir /var/lib/mlflow --shell /usr/sbin/nologin mlflow \
  && install --directory --owner=mlflow --group=mlflow --mode=0700 /var/lib/mlflow
COPY --from=build /opt/mlx-hub/.cache/mlflow /opt/mlx-hub/.cache/mlflow
ENV PATH=/opt/mlx-hub/.cache/mlflow/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
WORKDIR /var/lib/mlflow
EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/health', timeout=5)"]
USER 10001:10001
CMD ["mlflow", "server", "--workers", "1", "--host", "0.0.0.0", "--port", "5000"]
