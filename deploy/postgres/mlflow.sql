-- MLflow keeps its tables apart from the hub's: both have an alembic_version.
CREATE DATABASE mlflow;
