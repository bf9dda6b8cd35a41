"""Calls that bring stored files."""

from collections.abc import Iterator
from functools import partial
from os import PathLike
from pathlib import Path

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import MethodDescriptor
from mlx_hub.client.calls.datasets import get_dataset
from mlx_hub.client.contract import Call, method
from mlx_hub.client.download import Download, Saving
from mlx_hub.client.errors import DataLoss
from mlx_hub.client.upload import Progress
from mlx_hub.registry.v1 import download_service_pb2 as pb
from mlx_hub.registry.v1.dataset_pb2 import Dataset
from mlx_hub.registry.v1.download_service_pb2 import VersionFiles


def _rpc(name: str) -> MethodDescriptor:
    return method(pb.DESCRIPTOR, "DownloadService", name)


def list_files(model_id: int, version: int | str = "latest") -> Call[VersionFiles]:
    """List the files of a version with their sizes and hashes."""
    request = pb.ListVersionFilesRequest(model_id=model_id, version=str(version))
    return Call(_rpc("ListVersionFiles"), request, VersionFiles)


def download_version(
    model_id: int,
    version: int | str,
    folder: str | PathLike[str],
    *,
    timeout: float | None = None,
    on_progress: Progress | None = None,
) -> Download[VersionFiles]:
    """Bring all files of a version into a folder, which is made if it is missing; list them.

    Each file has its name once it is whole, synced and proven by its sha256; one that was there is
    replaced. After a lost connection it goes on where it was. It takes as long as it takes, unless
    `timeout` says otherwise. `on_progress` hears the bytes that came and their total.
    """

    def files(found: VersionFiles) -> Iterator[Saving]:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        total, before = sum(int(file.size_bytes) for file in found.files), 0
        for file in found.files:
            if file.name in ("", "..") or Path(file.name).name != file.name:
                raise DataLoss(f"{file.name!r} is no file's name", reason="ARTIFACT_CORRUPT")
            request = pb.GetVersionFileRequest(
                model_id=found.model_id, version=str(found.version), name=file.name
            )
            call = Call(_rpc("GetVersionFile"), request, HttpBody)
            tell = partial(_tell, on_progress, before, total)
            yield Saving(call, place / file.name, int(file.size_bytes), file.sha256, tell)
            before += int(file.size_bytes)

    return Download(list_files(model_id, version), files, timeout)


def download_dataset(
    dataset_id: int,
    path: str | PathLike[str],
    *,
    timeout: float | None = None,
    on_progress: Progress | None = None,
) -> Download[Dataset]:
    """Bring a dataset's JSONL as it came in, and give the dataset; as `models.download` does."""

    def files(found: Dataset) -> Iterator[Saving]:
        size = int(found.size_bytes)
        call = Call(_rpc("GetDatasetFile"), pb.GetDatasetFileRequest(dataset_id=found.id), HttpBody)
        yield Saving(call, Path(path), size, found.checksum, partial(_tell, on_progress, 0, size))

    return Download(get_dataset(dataset_id), files, timeout)


def _tell(on_progress: Progress | None, before: int, total: int, received: int) -> None:
    if on_progress:
        on_progress(before + received, total)
