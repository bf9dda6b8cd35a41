"""Every byte that a version stands on, read again and compared with the record.

Nothing is taken on trust here, no time and no earlier hash. What is damaged is told, not raised.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.chassis.errors import NotFound
from services.registry import files, metrics, papers
from services.registry.artifacts import corrupt
from services.registry.datasets import SUFFIX
from services.registry.domain import BaseModel, StoredFile, Version
from services.registry.files import checksum_of
from services.registry.lineage import Lineage, of_version
from services.registry.papers import ENVELOPE, MANIFEST, STATEMENT
from services.registry.signing import ENVELOPE_TYPE, PAYLOAD_TYPE, Keys, SignatureStatus
from services.registry.statement import contradictions
from services.registry.storage import ArtifactKind
from services.registry.store.base_models import BaseModelStore
from services.registry.store.versions import VersionStore
from services.registry.tiers import Tiers

# More would take the threads that requests need.
FILES_AT_ONCE = 4
RECORD = "as on record"

type Hashes = Mapping[str, StoredFile]


@dataclass(frozen=True)
class Check:
    """One comparison; nothing found is an empty text, nothing wrong an empty message."""

    what: str
    expected: str
    found: str
    message: str

    @property
    def ok(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.message


@dataclass(frozen=True)
class Verification:
    """What came of it."""

    lineage: Lineage
    signature: SignatureStatus
    key_id: str
    checks: tuple[Check, ...]

    @property
    def intact(self) -> bool:
        """Tell whether every check is ok."""
        return all(check.ok for check in self.checks)


class Verifier:
    """Reads what is stored, a few files at once, whoever asks."""

    def __init__(
        self, bases: BaseModelStore, versions: VersionStore, tiers: Tiers, keys: Keys
    ) -> None:
        """Know the record, the files, and which keys count."""
        self._bases = bases
        self._versions = versions
        self._tiers = tiers
        self._archive = tiers.hot.archive
        self._keys = keys
        self._room = asyncio.Semaphore(FILES_AT_ONCE)

    async def verify(self, model_id: int, reference: str) -> Verification:
        """Compare a version, its base model and its dataset, if any, with the record."""
        version, lineage = await self._versions.find(model_id, reference)
        found = await self._verify(version, lineage)
        if found.intact or not await self._moved(version):
            metrics.verified("request", ArtifactKind.VERSION, intact=found.intact)
            return found
        return await self.verify(model_id, str(version.version))

    async def _verify(self, version: Version, lineage: Lineage) -> Verification:
        base = await self._bases.of_model(version.model_id)
        folder = self._folder(version)
        own, under, data = await asyncio.gather(
            self._hashes(folder),
            self._hashes(self._archive / base.artifact_path),
            self._dataset(lineage),
        )
        read = await asyncio.to_thread(papers.read, folder)
        status, key = self._keys.judge(read.get(STATEMENT, b""), read.get(ENVELOPE))
        checks = (
            *_of_version(version, lineage, own),
            *_of_papers(lineage, read),
            _of_signature(status, key, needed=bool(self._keys.trusted)),
            *_of_base(base, lineage, under),
            *data,
        )
        return Verification(of_version(lineage, version), status, key, checks)

    async def statement(self, model_id: int, reference: str) -> tuple[str, bytes]:
        """Give a version's statement and its media type; signed, if it was."""
        version, lineage = await self._versions.find(model_id, reference)
        recorded = {paper.name: paper for paper in lineage.papers}
        name = ENVELOPE if ENVELOPE in recorded else STATEMENT
        if name not in recorded:
            raise NotFound(
                "STATEMENT_NOT_FOUND",
                f"version {version.version} is from before statements were written",
                metadata={"model_id": str(model_id), "version": reference},
            )
        read = await asyncio.to_thread(papers.read, self._folder(version))
        content = read.get(name, b"")
        if papers.digests({name: content}) != (recorded[name],):
            if await self._moved(version):
                return await self.statement(model_id, str(version.version))
            raise corrupt(name)
        return (ENVELOPE_TYPE if name == ENVELOPE else PAYLOAD_TYPE), content

    async def _moved(self, version: Version) -> bool:
        """Tell whether a version was archived or restored while it was read: that is no damage."""
        now, _ = await self._versions.find(version.model_id, str(version.version))
        return self._tiers.of(now.status) is not self._tiers.of(version.status)

    def _folder(self, version: Version) -> Path:
        tier = self._tiers.of(version.status)
        self._tiers.require(tier)
        return tier.archive / version.artifact_path

    async def _hashes(self, folder: Path) -> Hashes:
        paths = await asyncio.to_thread(_listed, folder)
        found = await asyncio.gather(*map(self._hash, paths))
        return {file.name: file for file in found if file}

    async def _dataset(self, lineage: Lineage) -> list[Check]:
        """Check the data that a version was trained on; an imported one names none."""
        if not lineage.dataset_digest:
            return []
        stored = self._archive / "datasets" / f"{lineage.dataset_digest}{SUFFIX}"
        found = await self._hash(stored)
        what = f"dataset {lineage.dataset_name}"
        return [_same(what, lineage.dataset_digest, found.sha256 if found else "")]

    async def _hash(self, path: Path) -> StoredFile | None:
        async with self._room:
            try:
                return await asyncio.to_thread(files.hash_file, path)
            except OSError:
                return None


def _listed(folder: Path) -> list[Path]:
    """List the plain files of a folder; hidden ones are nobody's."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [e for e in entries if e.is_file() and not e.is_symlink() and e.name[0] != "."]


def _same(what: str, expected: str, found: str) -> Check:
    message = ""
    if not found:
        message = "missing or unreadable; restore it from a copy"
    elif found != expected:
        message = "not what was recorded; restore it from a copy"
    return Check(what, expected, found, message)


def _each(prefix: str, stored: Iterable[StoredFile], found: Hashes) -> Iterator[Check]:
    for file in stored:
        seen = found.get(file.name)
        yield _same(prefix + file.name, file.sha256, seen.sha256 if seen else "")


def _of_version(version: Version, lineage: Lineage, found: Hashes) -> Iterator[Check]:
    yield from _each("", (*lineage.files, *lineage.papers), found)
    # The folder is named by the digest of all in it: nothing may have been added either.
    name = Path(version.artifact_path).name
    yield _same("the version's folder", name, checksum_of(found.values()) if found else "")


def _of_base(base: BaseModel, lineage: Lineage, found: Hashes) -> Iterator[Check]:
    whole = f"base model {base.name}"
    yield from _each(f"{whole}: ", base.files, found)
    yield _same(whole, lineage.base_digest, checksum_of(found.values()) if found else "")


def _of_papers(lineage: Lineage, read: Mapping[str, bytes]) -> Iterator[Check]:
    """Compare what manifest and statement say with the row."""
    said = {MANIFEST: papers.contradictions(read.get(MANIFEST, b""), lineage)}
    if lineage.papers:
        subjects = (*lineage.files, *(p for p in lineage.papers if p.name == MANIFEST))
        said[STATEMENT] = contradictions(read.get(STATEMENT, b""), lineage, subjects)
    for name, wrong in said.items():
        found = f"another {', '.join(wrong)}" if wrong else RECORD
        message = "it contradicts the record; restore it from a copy" if wrong else ""
        yield Check(f"what {name} says", RECORD, found, message)


def _of_signature(status: SignatureStatus, key: str, *, needed: bool) -> Check:
    """Judge a signature: with a key configured nothing but a valid one will do."""
    expected = SignatureStatus.VALID if needed else "any but invalid"
    message = ""
    if status is SignatureStatus.INVALID:
        message = "the statement was changed after it was signed, or never signed by this key"
    elif needed and status is SignatureStatus.UNSIGNED:
        message = "it was published without a key, or its signature was taken away"
    elif needed and status is SignatureStatus.UNKNOWN_KEY:
        message = f"add the public key {key[:12]}… to MLX_HUB_TRUSTED_KEYS, if it is to be trusted"
    return Check("signature", str(expected), str(status), message)
