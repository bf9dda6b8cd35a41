"""Where an imported version came from, on the wire."""

from datetime import UTC

from mlx_hub.registry.v1 import lineage_pb2 as lineage_pb

from services.registry.imported import AdapterFormat, BasePin, Imported
from services.registry.messages.files import from_file, to_file
from services.registry.messages.times import to_timestamp

FORMAT = {
    AdapterFormat.PEFT: lineage_pb.ADAPTER_FORMAT_PEFT,
    AdapterFormat.MLX: lineage_pb.ADAPTER_FORMAT_MLX,
}
PIN = {
    BasePin.SOURCE: lineage_pb.BASE_PIN_SOURCE,
    BasePin.OPERATOR: lineage_pb.BASE_PIN_OPERATOR,
    BasePin.NONE: lineage_pb.BASE_PIN_NONE,
}
FROM_FORMAT: dict[int, AdapterFormat] = {number: known for known, number in FORMAT.items()}
FROM_PIN: dict[int, BasePin] = {number: known for known, number in PIN.items()}


def to_imported(imported: Imported) -> lineage_pb.ImportProvenance:
    """Write where a version came from."""
    return lineage_pb.ImportProvenance(
        format=FORMAT[imported.format],
        source=imported.source,
        source_files=[to_file(file) for file in imported.source_files],
        pin=PIN[imported.pin],
        stated_base=imported.stated_base,
        imported_by=imported.imported_by,
        imported_at=to_timestamp(imported.imported_at),
        environment=imported.environment,
    )


def from_imported(imported: lineage_pb.ImportProvenance) -> Imported:
    """Read it; the contract has made sure that its enums and its time are there."""
    return Imported(
        format=FROM_FORMAT[imported.format],
        source=imported.source,
        source_files=tuple(from_file(file) for file in imported.source_files),
        pin=FROM_PIN[imported.pin],
        stated_base=imported.stated_base,
        imported_by=imported.imported_by,
        imported_at=imported.imported_at.ToDatetime(tzinfo=UTC),
        environment=dict(imported.environment),
    )
