"""What a node needs to load a model, on the wire."""

from mlx_hub.registry.v1 import publication_pb2 as publication_pb

from services.registry.messages.models import to_base_model, to_model
from services.registry.messages.versions import to_lineage, to_version
from services.registry.resolution import Resolved


def to_resolved(resolved: Resolved) -> publication_pb.ResolvedModel:
    """Write what to load."""
    return publication_pb.ResolvedModel(
        model=to_model(resolved.model),
        base_model=to_base_model(resolved.base),
        version=to_version(resolved.version) if resolved.version else None,
        lineage=to_lineage(resolved.lineage) if resolved.lineage else None,
    )
