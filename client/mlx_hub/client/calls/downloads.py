"""Calls that bring stored files."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Literal

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import MethodDescriptor
from mlx_hub.client.calls.datasets import get_dataset
from mlx_hub.client.contract import Call, method
from mlx_hub.client.download import Download, Export, Saving
from mlx_hub.client.errors import DataLoss
from mlx_hub.client.upload import Progress
from mlx_hub.client.watch import ExportCursor
from mlx_hub.registry.v1 import download_service_pb2 as pb
from mlx_hub.registry.v1 import export_pb2
from mlx_hub.registry.v1 import export_service_pb2 as exports_pb
from mlx_hub.registry.v1.dataset_pb2 import Dataset
from mlx_hub.registry.v1.download_service_pb2 import VersionFiles
from mlx_hub.registry.v1.lineage_pb2 import ArtifactFile


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
        def ask(name: str) -> Call[HttpBody]:
            request = pb.GetVersionFileRequest(
                model_id=found.model_id, version=str(found.version), name=name
            )
            return Call(_rpc("GetVersionFile"), request, HttpBody)

        return _savings(found.files, Path(folder), ask, on_progress)

    return Download(list_files(model_id, version), files, timeout)


def export_version(
    model_id: int,
    version: int | str,
    folder: str | PathLike[str],
    *,
    format: Literal["fused", "peft"] = "fused",
    quantize_bits: int = 0,
    tolerance: float | None = None,
    on_step: Callable[[str], object] | None = None,
    on_progress: Progress | None = None,
) -> Export:
    """Let the hub export a version, bring its files as `download` does, and give the export.

    `fused` is a whole model for MLX-LM, of which `tolerance` says how much of the adapter's effect
    may be lost (0.25); `peft` is the adapter in PEFT's form. `on_step` hears what the hub does.
    """
    request = exports_pb.ExportVersionRequest(
        model_id=model_id,
        version=str(version),
        format=export_pb2.ExportFormat.Value(f"EXPORT_FORMAT_{format.upper()}"),
        quantize_bits=quantize_bits,
        tolerance=tolerance,
    )
    rpc = method(exports_pb.DESCRIPTOR, "ExportService", "ExportVersion")

    def files(found: export_pb2.VersionExport) -> Iterator[Saving]:
        def ask(name: str) -> Call[HttpBody]:
            request = pb.GetExportFileRequest(
                model_id=found.model_id, version=str(found.version), export_id=found.id, name=name
            )
            return Call(_rpc("GetExportFile"), request, HttpBody)

        return _savings(found.files, Path(folder), ask, on_progress)

    cursor = ExportCursor(Call(rpc, request, export_pb2.ExportEvent), on_step)
    return Export(cursor, files)


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


def _savings(
    listed: Iterable[ArtifactFile],
    folder: Path,
    ask: Callable[[str], Call[HttpBody]],
    on_progress: Progress | None,
) -> Iterator[Saving]:
    """Bring files into a folder, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = list(listed)
    total, before = sum(int(file.size_bytes) for file in listed), 0
    for file in listed:
        if file.name in ("", "..") or Path(file.name).name != file.name:
            raise DataLoss(f"{file.name!r} is no file's name", reason="ARTIFACT_CORRUPT")
        size, tell = int(file.size_bytes), partial(_tell, on_progress, before, total)
        yield Saving(ask(file.name), folder / file.name, size, file.sha256, tell)
        before += size


def _tell(on_progress: Progress | None, before: int, total: int, received: int) -> None:
    if on_progress:
        on_progress(before + received, total)
