"""Keys and envelopes: who may sign, and what a signature is worth."""

import base64
import json
import os
import random
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from services.chassis.settings import load
from services.registry.settings import RegistrySettings
from services.registry.signing import (
    KeyFileError,
    Keys,
    SignatureStatus,
    generate,
    key_id,
    pae,
    read_private,
    read_public,
)

PKCS8 = serialization.PrivateFormat.PKCS8
PEM = serialization.Encoding.PEM
DATABASE = "postgresql+psycopg://hub@localhost/hub"


def made(path: Path) -> tuple[Path, Path, str]:
    """Make a key; give its file, its public half's and its id."""
    public, identity = generate(path)
    path.with_suffix(".pub").write_text(public)
    return path, path.with_suffix(".pub"), identity


def test_the_encoding_is_the_specification_s() -> None:
    encoded = pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_an_envelope_is_the_specification_s(tmp_path: Path) -> None:
    private, _, identity = made(tmp_path / "key")
    sealed = Keys.read(private).seal(b"{}")
    assert sealed is not None
    envelope = json.loads(sealed)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert base64.b64decode(envelope["payload"]) == b"{}"
    [signature] = envelope["signatures"]
    assert signature["keyid"] == identity
    key = read_private(private).public_key()
    sig = base64.b64decode(signature["sig"])
    key.verify(sig, pae("application/vnd.in-toto+json", b"{}"))
    with pytest.raises(InvalidSignature):
        key.verify(sig, b"{}")


def test_each_status_has_its_case(tmp_path: Path) -> None:
    mine, my_public, identity = made(tmp_path / "mine")
    theirs, their_public, their_identity = made(tmp_path / "theirs")
    signs, other = Keys.read(mine), Keys.read(theirs)
    envelope = signs.seal(b"{}")
    assert envelope is not None
    assert Keys().seal(b"{}") is None
    both = Keys.read(None, (their_public, my_public))
    for keys in (signs, both):
        assert keys.judge(b"{}", envelope) == (SignatureStatus.VALID, identity)
    assert signs.judge(b"{}", None) == (SignatureStatus.UNSIGNED, "")
    assert Keys().judge(b"{}", envelope) == (SignatureStatus.NOT_CHECKED, identity)
    assert other.judge(b"{}", envelope) == (SignatureStatus.UNKNOWN_KEY, identity)
    assert signs.judge(b"[]", envelope) == (SignatureStatus.INVALID, identity)
    assert signs.judge(b"{}", b"{}") == (SignatureStatus.INVALID, "")
    renamed = envelope.replace(identity.encode(), their_identity.encode())
    assert signs.judge(b"{}", renamed) == (SignatureStatus.VALID, identity), "only a hint"
    assert other.judge(b"{}", renamed) == (SignatureStatus.INVALID, their_identity)


def test_no_flipped_bit_makes_another_statement_valid(tmp_path: Path) -> None:
    keys = Keys.read(made(tmp_path / "key")[0])
    statement = b'{"a": 1}'
    envelope = keys.seal(statement)
    assert envelope is not None
    payload = envelope.index(b"payload")
    chance = random.Random(5)  # noqa: S311
    for _ in range(300):
        flipped = bytearray(envelope)
        flipped[chance.randrange(payload, len(flipped))] ^= 1 << chance.randrange(8)
        assert keys.judge(b'{"a": 2}', bytes(flipped))[0] is not SignatureStatus.VALID


def test_a_new_key_is_its_owner_s_alone_and_never_overwritten(tmp_path: Path) -> None:
    path, public, identity = made(tmp_path / "key")
    assert path.stat().st_mode & 0o777 == 0o600
    assert key_id(read_public(public)) == identity == key_id(read_private(path).public_key())
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        generate(path)
    assert path.read_bytes() == before


def test_a_key_is_in_no_text(tmp_path: Path) -> None:
    path = made(tmp_path / "key")[0]
    secret = path.read_text().splitlines()[1]
    assert secret not in repr(Keys.read(path))
    settings = RegistrySettings(database_url=DATABASE, signing_key=path)
    assert settings.masked()["signing_key"] == "***"


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def unusable(path: Path, why: str) -> None:
    """Leave a file that is no key to sign by."""
    plain = serialization.NoEncryption()
    if why == "chmod 600":
        generate(path)
        path.chmod(0o640)
    elif why == "Ed25519":
        write(path, rsa.generate_private_key(65537, 2048).private_bytes(PEM, PKCS8, plain))
    elif why == "unencrypted":
        locked = serialization.BestAvailableEncryption(b"word")
        write(path, ed25519.Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, locked))
    elif why == "PEM private key":
        write(path, b"no key")


@pytest.mark.parametrize(
    "why", ["chmod 600", "Ed25519", "unencrypted", "PEM private key", "can't be read"]
)
def test_an_unusable_key_stops_the_start(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "key"
    unusable(path, why)
    with pytest.raises(KeyFileError, match=why):
        read_private(path)
    monkeypatch.setenv("DATABASE_URL", DATABASE)
    monkeypatch.setenv("MLX_HUB_SIGNING_KEY", str(path))
    with pytest.raises(SystemExit) as caught:
        load(RegistrySettings)
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("setting MLX_HUB_SIGNING_KEY: the ")
    assert why in told


def test_trusted_keys_are_public_ed25519_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public, identity = made(tmp_path / "one")
    _, second, other = made(tmp_path / "two")
    listed = os.pathsep.join(map(str, (public, second)))
    settings = RegistrySettings(database_url=DATABASE, trusted_keys=listed)
    assert set(settings.keys().trusted) == {identity, other}
    assert settings.keys().private is None
    rsa_public = tmp_path / "rsa.pub"
    key = rsa.generate_private_key(65537, 2048).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    rsa_public.write_bytes(key.public_bytes(PEM, form))
    monkeypatch.setenv("DATABASE_URL", DATABASE)
    for wrong in (private, rsa_public, tmp_path / "gone"):
        monkeypatch.setenv("MLX_HUB_TRUSTED_KEYS", f"{public}{os.pathsep}{wrong}")
        with pytest.raises(SystemExit):
            load(RegistrySettings)
        told = capsys.readouterr().err
        assert "setting MLX_HUB_TRUSTED_KEYS: " in told
        assert wrong.name in told
