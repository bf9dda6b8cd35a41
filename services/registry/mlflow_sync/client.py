"""The mirror's side: writes a delivery into MLflow; writing it twice changes nothing."""

import os
from collections.abc import Mapping
from pathlib import Path

from services.registry.domain import Model
from services.registry.mlflow_sync.address import BOUNDS, is_database, with_bounds
from services.registry.mlflow_sync.registered import RegisteredModels
from services.registry.mlflow_sync.runs import Runs
from services.registry.mlflow_sync.tags import MODEL_TAG, NOTE_TAG, OWN_TAG, identity_of, names_of
from services.registry.store.outbox import Delivery

ARTIFACTS = "mlflow"


class Client:
    """MLflow's experiments, runs and registered models, as the hub's facts say."""

    def __init__(self, uri: str, archive: Path, cold: Path) -> None:
        """Load MLflow; runs of a store without a server keep their files in the archive."""
        os.environ.update({key: os.environ.get(key, value) for key, value in BOUNDS.items()})
        from mlflow import MlflowClient  # noqa: PLC0415  (seconds, and only here)

        self._mlflow = MlflowClient(tracking_uri=with_bounds(uri))
        self._location = (archive / ARTIFACTS).as_uri() if is_database(uri) else None
        self._runs = Runs(self._mlflow, archive, cold)
        self._registered = RegisteredModels(self._mlflow)

    def deliver(self, delivery: Delivery) -> str:
        """Mirror a model, a version or a job's facts and give the model's experiment id."""
        experiment = self._experiment(delivery.model)
        if delivery.job:
            self._runs.record(experiment, delivery.job, retried=delivery.retried)
            return experiment
        name = self._registered.of(delivery.model)
        if delivery.version and delivery.lineage:
            run_id = self._runs.publish(experiment, delivery.version, delivery.lineage)
            self._registered.add(name, run_id, delivery.version, delivery.lineage)
        self._registered.point(name, delivery.aliases)
        return experiment

    def _experiment(self, model: Model) -> str:
        tags = {MODEL_TAG: identity_of(model), "mlx_hub.base_model": model.base_model}
        tags |= {f"{OWN_TAG}{key}": value for key, value in model.tags.items()}
        if model.description:
            tags[NOTE_TAG] = model.description
        for name in names_of(model, "/"):
            found = self._mlflow.get_experiment_by_name(name)
            if found is None:
                return str(self._mlflow.create_experiment(name, self._location, tags))
            if found.tags.get(MODEL_TAG) == tags[MODEL_TAG]:
                if found.lifecycle_stage == "deleted":
                    self._mlflow.restore_experiment(found.experiment_id)
                self._retag(found.experiment_id, found.tags, tags)
                return str(found.experiment_id)
        raise RuntimeError(f"MLflow has other experiments under both names of model {model.id}")

    def _retag(self, experiment: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        """Bring the tags of ours to what the model says now; leave the others."""
        for key in old.keys() - new.keys():
            if key.startswith(OWN_TAG) or key == NOTE_TAG:
                self._mlflow.delete_experiment_tag(experiment, key)
        for key in new:
            if old.get(key) != new[key]:
                self._mlflow.set_experiment_tag(experiment, key, new[key])
