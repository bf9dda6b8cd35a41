"""Ed25519 keys and DSSE envelopes: who vouches for a statement, and whether that holds."""

import base64
import hashlib
import json
import os
import stat
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"


class SignatureStatus(StrEnum):
    """What a version's signature is worth here."""

    VALID = "valid"
    INVALID = "invalid"
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown key"
    NOT_CHECKED = "not checked"


class KeyFileError(ValueError):
    """A file holds no key that can be used; the message says why and never holds the key."""


@dataclass(frozen=True)
class Keys:
    """The key that signs, if any, and every key whose signature counts, by its id."""

    private: Ed25519PrivateKey | None = field(default=None, repr=False)
    trusted: dict[str, Ed25519PublicKey] = field(default_factory=dict)

    @classmethod
    def read(cls, private: Path | None, public: tuple[Path, ...] = ()) -> "Keys":
        """Read the operator's files; a key that signs is trusted. Raises KeyFileError."""
        signs = read_private(private) if private else None
        trusted = [read_public(path) for path in public]
        trusted += [signs.public_key()] if signs else []
        return cls(signs, {key_id(key): key for key in trusted})

    def seal(self, statement: bytes) -> bytes | None:
        """Sign a statement and give its envelope; None without a key."""
        if self.private is None:
            return None
        signature = self.private.sign(pae(PAYLOAD_TYPE, statement))
        envelope = {
            "payloadType": PAYLOAD_TYPE,
            "payload": base64.b64encode(statement).decode(),
            "signatures": [
                {
                    "keyid": key_id(self.private.public_key()),
                    "sig": base64.b64encode(signature).decode(),
                }
            ],
        }
        return json.dumps(envelope, indent=2, sort_keys=True).encode()

    def judge(self, statement: bytes, envelope: bytes | None) -> tuple[SignatureStatus, str]:
        """Tell what an envelope is worth for a statement, and which key it names."""
        if envelope is None:
            return SignatureStatus.UNSIGNED, ""
        try:
            named, payload, signature = _open(envelope)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return SignatureStatus.INVALID, ""
        if payload != statement:
            return SignatureStatus.INVALID, named
        if not self.trusted:
            return SignatureStatus.NOT_CHECKED, named
        # The envelope's key id is a hint that anybody may have written: every key is tried.
        for identity, key in self.trusted.items():
            try:
                key.verify(signature, pae(PAYLOAD_TYPE, statement))
            except InvalidSignature:
                continue
            return SignatureStatus.VALID, identity
        known = named in self.trusted
        return (SignatureStatus.INVALID if known else SignatureStatus.UNKNOWN_KEY), named


def pae(kind: str, body: bytes) -> bytes:
    """Give DSSE's pre-authentication encoding: what is really signed."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(body), body)


def key_id(key: Ed25519PublicKey) -> str:
    """Name a key by the sha256 of its DER form."""
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(encoding, form)).hexdigest()


def read_private(path: Path) -> Ed25519PrivateKey:
    """Read the key that signs; nobody but its owner may be able to read it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except OSError as error:
        raise KeyFileError(f"the key file can't be read: {error.strerror}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise KeyFileError("the key file may be read by others; run `chmod 600` on it")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFileError("the file holds no unencrypted PEM private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError("the key is not an Ed25519 key; `mlx-hub keygen PATH` makes one")
    return key


def read_public(path: Path) -> Ed25519PublicKey:
    """Read a key to check by."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise KeyFileError(f"{path.name} can't be read: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path.name} holds no PEM public key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"the key in {path.name} is not an Ed25519 key")
    return key


def generate(path: Path) -> tuple[str, str]:
    """Write a new private key that only its owner may read; give its public half and its id.

    Raises FileExistsError rather than lose a key.
    """
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    public = key.public_key()
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(encoding, form).decode(), key_id(public)


def _open(envelope: bytes) -> tuple[str, bytes, bytes]:
    """Give the named key, the payload and the signature of an envelope of ours."""
    data = json.loads(envelope)
    if data["payloadType"] != PAYLOAD_TYPE:
        raise ValueError("the payload is no in-toto statement")
    [signature] = data["signatures"]
    payload, sig = (base64.b64decode(t, validate=True) for t in (data["payload"], signature["sig"]))
    return str(signature.get("keyid", "")), payload, sig
