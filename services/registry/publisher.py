"""The one way a version comes to be: files first, whole and synced, then the row."""

import asyncio
from dataclasses import replace

from services.registry import lineage as lineages
from services.registry.artifacts import Artifacts
from services.registry.domain import Version
from services.registry.files import checksum_of
from services.registry.findings import NOTHING, Findings
from services.registry.lineage import Publication
from services.registry.papers import digests, papers_of
from services.registry.signing import Keys
from services.registry.store.base_models import BaseModelStore
from services.registry.store.datasets import DatasetStore
from services.registry.store.models import ModelStore
from services.registry.store.versions import VersionStore


class Publisher:
    """Publishes finished jobs' adapters and imported ones."""

    def __init__(
        self,
        models: ModelStore,
        bases: BaseModelStore,
        datasets: DatasetStore,
        versions: VersionStore,
        artifacts: Artifacts,
        keys: Keys,
    ) -> None:
        """Know the stores, the files, and by which key a statement is signed."""
        self._models = models
        self._bases = bases
        self._datasets = datasets
        self._versions = versions
        self._artifacts = artifacts
        self._keys = keys

    async def publish(self, publication: Publication, findings: Findings = NOTHING) -> Version:
        """Publish an adapter as the model's next version, once for each job or imported bytes."""
        lineages.check_origin(publication)
        if publication.training is None:
            findings.refuse()
        model = await self._models.get(publication.model_id)
        digest = checksum_of(publication.files)
        if (known := await self._versions.known(publication, digest)) is not None:
            return known
        base = await self._bases.of_model(model.id)
        trained = publication.training is not None
        dataset = await self._datasets.get(publication.dataset_id) if trained else None
        lineages.check(publication, base, dataset)
        lineage = lineages.trace(publication, model, base, dataset, digest)
        papers = papers_of(lineage, self._keys)
        path = await asyncio.to_thread(
            self._artifacts.publish_version, publication.staged_path, publication.files, papers
        )
        lineage = replace(lineage, papers=digests(papers))
        return await self._versions.add(publication, lineage, path, findings)
