"""The one way a version comes to be: files first, whole and synced, then the row."""

import asyncio
from typing import Any

from services.registry import lineage as lineages
from services.registry.artifacts import Artifacts, checksum_of
from services.registry.domain import Version
from services.registry.lineage import Lineage, Publication
from services.registry.store.base_models import BaseModelStore
from services.registry.store.datasets import DatasetStore
from services.registry.store.models import ModelStore
from services.registry.store.versions import VersionStore


class Publisher:
    """Publishes finished jobs' adapters."""

    def __init__(
        self,
        models: ModelStore,
        bases: BaseModelStore,
        datasets: DatasetStore,
        versions: VersionStore,
        artifacts: Artifacts,
    ) -> None:
        """Know the stores and the files."""
        self._models = models
        self._bases = bases
        self._datasets = datasets
        self._versions = versions
        self._artifacts = artifacts

    async def publish(self, publication: Publication) -> Version:
        """Publish an adapter as the model's next version, once for each job."""
        model = await self._models.get(publication.model_id)
        known = await self._versions.of_job(publication.training.job_id, model.id)
        if known is not None:
            return known
        base = await self._bases.of_model(model.id)
        dataset = await self._datasets.get(publication.dataset_id)
        lineages.check(publication, base, dataset)
        digest = checksum_of(publication.files)
        lineage = lineages.trace(publication, model, base, dataset, digest)
        path = await asyncio.to_thread(
            self._artifacts.publish_version,
            publication.staged_path,
            publication.files,
            manifest_of(lineage),
        )
        return await self._versions.add(publication, lineage, path)


def manifest_of(lineage: Lineage) -> dict[str, Any]:
    """Write what lies beside the files: enough to rebuild the row without the database."""
    training = lineage.training
    return {
        "format": 1,
        "checksum": lineage.adapter_digest,
        "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in lineage.files],
        "base_digest": lineage.base_digest,
        "dataset_digest": lineage.dataset_digest,
        "job_id": training.job_id,
        "attempt": training.attempt,
        "seed": training.seed,
        "code_commit": training.code_commit,
        "lock_digest": training.lock_digest,
        "lineage": lineages.to_json(lineage),
    }
