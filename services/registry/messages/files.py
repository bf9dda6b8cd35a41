"""Files of a manifest on the wire."""

from mlx_hub.registry.v1 import lineage_pb2 as lineage_pb

from services.registry.domain import StoredFile


def to_file(file: StoredFile) -> lineage_pb.ArtifactFile:
    """Write a file of a manifest."""
    return lineage_pb.ArtifactFile(name=file.name, size_bytes=file.size, sha256=file.sha256)


def from_file(file: lineage_pb.ArtifactFile) -> StoredFile:
    """Read a file of a manifest; a size that is no whole number matches no file."""
    whole = file.size_bytes.is_integer()
    return StoredFile(file.name, int(file.size_bytes) if whole else -1, file.sha256)
