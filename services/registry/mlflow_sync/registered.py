"""A registered model for each model, a version of it for each version, and the same aliases."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from services.registry.domain import LATEST, Model, Version
from services.registry.lineage import Lineage
from services.registry.mlflow_sync.runs import ADAPTER
from services.registry.mlflow_sync.tags import (
    ALIAS_TAG,
    MODEL_TAG,
    VERSION_TAG,
    identity_of,
    names_of,
    tags_of_origin,
    tags_of_version,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's rule, less the names that it keeps for itself: `latest` and v1, v2, ...
_ALIAS = re.compile(r"(?!v\d+$)[\w-]+")


def expressible(alias: str) -> bool:
    """Tell whether MLflow takes an alias of this name."""
    return _ALIAS.fullmatch(alias) is not None and alias != LATEST


class RegisteredModels:
    """MLflow's model registry."""

    def __init__(self, mlflow: "MlflowClient") -> None:
        """Know MLflow."""
        self._mlflow = mlflow

    def of(self, model: Model) -> str:
        """Give the name under which a model is registered, and register it if it is not."""
        tags = {MODEL_TAG: identity_of(model)}
        for name in names_of(model, "."):
            found = self._mlflow.search_registered_models(f"name = '{name}'")
            if not found:
                self._mlflow.create_registered_model(name, tags)
                return name
            if found[0].tags.get(MODEL_TAG) == tags[MODEL_TAG]:
                return name
        raise RuntimeError(f"MLflow has other models under both names of model {model.id}")

    def add(self, name: str, run_id: str, version: Version, lineage: Lineage) -> None:
        """Register a version as its run made it, once."""
        if str(version.version) in self._numbers(name):
            return
        self._mlflow.create_model_version(
            name,
            source=f"runs:/{run_id}/{ADAPTER}",
            run_id=run_id,
            tags={
                **tags_of_version(version),
                **tags_of_origin(version, lineage),
            },
            await_creation_for=0,
        )

    def point(self, name: str, aliases: Mapping[str, int]) -> None:
        """Set, move and delete aliases of ours; the tags tell which are, and keep the others."""
        model = self._mlflow.get_registered_model(name)
        numbers = self._numbers(name)
        # An alias of a version that is still to come is set behind it.
        wanted = {a: str(v) for a, v in aliases.items() if a != LATEST and str(v) in numbers}
        tagged = {
            key.removeprefix(ALIAS_TAG): value
            for key, value in model.tags.items()
            if key.startswith(ALIAS_TAG)
        }
        for alias in tagged.keys() - aliases.keys():
            if alias in model.aliases:
                self._mlflow.delete_registered_model_alias(name, alias)
            self._mlflow.delete_registered_model_tag(name, f"{ALIAS_TAG}{alias}")
        for alias, version in wanted.items():
            if tagged.get(alias) != version:
                self._mlflow.set_registered_model_tag(name, f"{ALIAS_TAG}{alias}", version)
            if expressible(alias) and model.aliases.get(alias) != numbers[version]:
                self._mlflow.set_registered_model_alias(name, alias, numbers[version])

    def _numbers(self, name: str) -> dict[str, str]:
        """Give MLflow's number for each of the hub's; they are the same unless others add."""
        found = self._mlflow.search_model_versions(f"name = '{name}'")
        own = [version for version in found if VERSION_TAG in version.tags]
        return {version.tags["mlx_hub.version"]: str(version.version) for version in own}
