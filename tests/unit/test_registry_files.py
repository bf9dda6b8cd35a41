"""Paths never leave their root; files are all there or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from services.registry import files, intact
from services.registry.artifacts import ALWAYS_READ, Artifacts
from services.registry.files import UnreadableError, checksum_of
from services.runtime.folder import FileDigest, digest_of


@pytest.mark.parametrize(
    "path", ["", ".", "..", "/a", "a/", "a//b", "./a", "a/./b", "../a", "a/../b", "a\0b", "/"]
)
def test_a_path_has_one_spelling_and_stays_below(path: str) -> None:
    with pytest.raises(UnreadableError):
        files.parts_beneath(path)


@pytest.mark.parametrize("path", ["a", "a/b", "a b/c", "...", ".a", "a\\b", "ä"])
def test_other_names_are_just_names(path: str) -> None:
    assert "/".join(files.parts_beneath(path)) == path


def read(root: Path, relative: str) -> bytes:
    with files.file_beneath(root, relative) as descriptor:
        return b"".join(files.chunks_of(descriptor))


def test_a_file_below_the_root_is_read(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "f").write_bytes(b"x" * (3 << 20))
    (tmp_path / "root").symlink_to("real")  # the root itself may be a link
    assert read(tmp_path / "root", "deep/f") == b"x" * (3 << 20)


def test_links_and_odd_files_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (root / "out").symlink_to("../secret")
    (root / "up").symlink_to("..")
    (root / "folder" / "loop").symlink_to("loop")
    (root / "folder" / "f").write_text("x")
    (root / "inside").symlink_to("folder")  # even one that leads nowhere else
    os.mkfifo(root / "pipe")
    for path in (
        *("out", "up/secret", "folder/loop", "folder", "pipe", "missing", "pipe/x"),
        *("inside/f", "folder/../folder/f", "f\0", f"{root}/folder/f"),
    ):
        with pytest.raises(UnreadableError):
            read(root, path)
    with pytest.raises(UnreadableError):
        read(Path("/dev"), "zero")
    with pytest.raises(UnreadableError):
        read(tmp_path / "no-root", "f")


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_text("x")
    (tmp_path / "a" / "l").symlink_to("f")
    descriptors = Path("/dev/fd")
    before = len(list(descriptors.iterdir()))
    for path in ("a/f", "a/l", "a/missing", "missing/f"):
        try:
            read(tmp_path, path)
        except UnreadableError:
            continue
    assert len(list(descriptors.iterdir())) == before


def test_a_written_file_is_new_and_read_only(tmp_path: Path) -> None:
    target = tmp_path / "f"
    files.write_synced(target, iter([b"a", b"b"]))
    assert target.read_bytes() == b"ab"
    assert stat.S_IMODE(target.stat().st_mode) == 0o444
    with pytest.raises(FileExistsError):
        files.write_synced(target, iter([b"c"]))


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "active", tmp_path / "archive")
    artifacts.prepare()
    with pytest.raises(RuntimeError), artifacts.fresh_folder("versions") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list((tmp_path / "archive" / "versions").iterdir()) == []


def test_the_checksum_is_the_one_of_base_models(tmp_path: Path) -> None:
    """One scheme for all folders, whatever the order of the files."""
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    stored = [files.hash_file(tmp_path / name) for name in ("b", "a")]
    same = tuple(FileDigest(f.name, f.size, f.sha256) for f in reversed(stored))
    assert checksum_of(stored) == digest_of(same)


@pytest.mark.parametrize("harm", ["changed", "missing", "a folder", "unreadable"])
def test_what_is_put_in_place_replaces_what_is_not_whole(
    tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file of the same size and time as the good one is read all the same."""
    artifacts = Artifacts(tmp_path / "active", tmp_path / "archive")
    artifacts.prepare()
    good, bad = b"g" * (ALWAYS_READ + 1), b"b" * (ALWAYS_READ + 1)

    def place() -> str:
        with artifacts.fresh_folder("versions") as folder:
            (folder / "f").write_bytes(good)
            os.utime(folder / "f", (1, 1))
            stored = [files.hash_file(folder / "f")]
            with monkeypatch.context() as patched:
                if harm == "unreadable":
                    patched.setattr(intact, "damaged", _fails)
                return artifacts.place(folder, "versions", checksum_of(stored), stored)

    file = artifacts.archive / place() / "f"
    file.unlink()
    if harm == "a folder":
        file.mkdir()
    elif harm != "missing":
        file.write_bytes(bad)
        os.utime(file, (1, 1))
    place()
    assert file.read_bytes() == good
    assert [p.name for p in file.parents[1].iterdir()] == [file.parent.name]


def _fails(*_: object) -> str:
    raise OSError(errno.EIO, "Input/output error")
