"""Verifications on the wire."""

from mlx_hub.registry.v1 import provenance_service_pb2 as pb

from services.registry.signing import SignatureStatus
from services.registry.verification import Check, Verification

SIGNATURE = {
    SignatureStatus.VALID: pb.SIGNATURE_STATUS_VALID,
    SignatureStatus.INVALID: pb.SIGNATURE_STATUS_INVALID,
    SignatureStatus.UNSIGNED: pb.SIGNATURE_STATUS_UNSIGNED,
    SignatureStatus.UNKNOWN_KEY: pb.SIGNATURE_STATUS_UNKNOWN_KEY,
    SignatureStatus.NOT_CHECKED: pb.SIGNATURE_STATUS_NOT_CHECKED,
}


def to_verification(verification: Verification) -> pb.Verification:
    """Write what came of a verification."""
    lineage = verification.lineage
    return pb.Verification(
        model_id=lineage.model_id,
        model_name=lineage.model_name,
        version=lineage.version,
        intact=verification.intact,
        signature=SIGNATURE[verification.signature],
        key_id=verification.key_id,
        checks=[to_check(check) for check in verification.checks],
    )


def to_check(check: Check) -> pb.VerificationCheck:
    """Write one comparison."""
    return pb.VerificationCheck(**vars(check), ok=check.ok)
