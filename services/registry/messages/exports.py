"""Exports on the wire."""

from datetime import UTC, datetime

from google.rpc.status_pb2 import Status
from mlx_hub.registry.v1 import export_pb2 as pb
from mlx_hub.registry.v1 import export_service_pb2 as service_pb

from services.chassis.errors import Invalid
from services.registry.messages.files import to_file
from services.registry.messages.times import to_timestamp
from services.registry.shelf import Export
from services.runtime.exchange import TOLERANCE
from services.runtime.exchange.wanted import MLX, PEFT, Wish

FORMS = {pb.EXPORT_FORMAT_FUSED: MLX, pb.EXPORT_FORMAT_PEFT: PEFT}
FORMATS = {form: number for number, form in FORMS.items()}


def wish_of(request: service_pb.ExportVersionRequest) -> Wish:
    """Read how a version is wanted; what goes with one format only is refused with another."""
    form = FORMS[request.format]
    given = {
        "quantize_bits": request.quantize_bits != 0,
        "tolerance": request.HasField("tolerance"),
    }
    for field, is_given in given.items():
        if form == PEFT and is_given:
            text = f"{field} goes with the format FUSED; leave it out"
            raise Invalid("INVALID_FIELD", text, field=field)
    tolerance = request.tolerance if given["tolerance"] else TOLERANCE
    return Wish(form, request.quantize_bits, tolerance)


def to_event(frame: str | Export) -> pb.ExportEvent:
    """Write a step, or the export that they led to."""
    if isinstance(frame, str):
        return pb.ExportEvent(progress=pb.ExportProgress(step=frame))
    return pb.ExportEvent(export=to_export(frame))


def to_broken(status: Status) -> pb.ExportEvent:
    """Write why there is none."""
    return pb.ExportEvent(error=status)


def to_export(export: Export) -> pb.VersionExport:
    """Write an export."""
    report = export.report
    return pb.VersionExport(
        id=export.label.export_id,
        model_id=export.label.model_id,
        version=export.label.version,
        format=FORMATS[report["form"]],
        quantize_bits=report.get("quantize", 0),
        files=[to_file(file) for file in export.files],
        parity=_parity(export) if "parity" in report else None,
        created_at=to_timestamp(datetime.fromtimestamp(export.created_at, UTC)),
        expires_at=to_timestamp(datetime.fromtimestamp(export.expires_at, UTC)),
    )


def _parity(export: Export) -> pb.ExportParity:
    found = export.report["parity"]
    return pb.ExportParity(
        compared_on=found["compared_on"],
        samples=found["samples"],
        positions=found["positions"],
        effect_lost=found["effect_lost"],
        tolerance=found["tolerance"],
        mean_kl=found["fused"]["mean_kl"],
        base_mean_kl=found["base"]["mean_kl"],
    )
