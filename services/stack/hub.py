"""Fetch a model from the Hugging Face hub: `python -m services.stack.hub ORG/NAME REVISION ROOT`.

The one place that reaches the hub; `mlx-hub models import --from-hub` alone runs it. An empty
REVISION means the newest. Weights and texts are fetched, never code, pickles or sub-folders, and
each file's hash is compared with the hub's. Prints a line for each step, then one line of JSON with
the folder and the commit; on failure one line on stderr, exit status 2. A child process, because
the library reads the environment on import.
"""

import argparse
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import HfApi, constants, errors, hf_hub_download
from huggingface_hub.hf_api import RepoSibling

from services.runtime.folder import FolderError, belongs, read_configs
from services.stack.errors import StackError

_FILE = re.compile(r"\w[\w.-]*", re.ASCII)
_SECONDS = 30.0


def fetch(repository: str, revision: str, root: Path) -> tuple[Path, str]:
    """Bring the model's files into a folder below `root`; give the folder and the commit.

    Files that were fetched whole before are kept; those of other commits go. Raises StackError for
    a repository that holds no model that can be imported, FolderError for one that asks to run
    code, and the library's errors.
    """
    found = HfApi().model_info(
        repository, revision=revision or None, files_metadata=True, timeout=_SECONDS
    )
    commit, files = str(found.sha), _model_files(repository, found.siblings or ())
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise StackError("The hub named no commit; check HF_ENDPOINT.")
    prefix = repository.replace("/", "--")
    folder = root / f"{prefix}--{commit}"
    for old in root.glob(f"{prefix}--*"):
        if old != folder:
            shutil.rmtree(old)
    weights = [file for file in files if file.rfilename.endswith(".safetensors")]
    _say(f"fetching {repository} at {commit[:12]}: {_size(sum(f.size or 0 for f in files))}")
    for file in files:
        if file not in weights:
            _download(repository, commit, file, folder)
    try:
        read_configs(folder)  # gigabytes are not fetched for a model that asks to run code
    except FolderError:
        shutil.rmtree(folder)
        raise
    for number, file in enumerate(weights, 1):
        _say(f"fetching {file.rfilename} ({number} of {len(weights)}, {_size(file.size or 0)})")
        _download(repository, commit, file, folder)
    return folder, commit


def _model_files(repository: str, siblings: Sequence[RepoSibling]) -> list[RepoSibling]:
    """Choose the files that a model is made of; name what is missing."""
    names = {file.rfilename for file in siblings}
    weights = {name for name in names if re.fullmatch(r"model[\w.-]*\.safetensors", name)}
    if not weights:
        others = sorted(name for name in names if Path(name).suffix in {".bin", ".pt", ".pth"})
        has = f" but {others[0]!r}, and pickles are never loaded" if others else ""
        raise StackError(
            f"{repository} has no model.safetensors{has}; look for a repository that has it."
        )
    for name in ("config.json", "tokenizer.json"):
        if name not in names:
            raise StackError(f"{repository} has no {name!r}; look for a complete repository.")
    wanted = [
        file
        for file in sorted(siblings, key=lambda file: file.rfilename)
        if _FILE.fullmatch(file.rfilename)
        and belongs(file.rfilename)
        and (file.rfilename in weights or not file.rfilename.endswith(".safetensors"))
    ]
    for file in wanted:
        if (file.size or 0) > constants.MAX_HTTP_DOWNLOAD_SIZE:
            raise StackError(f"{file.rfilename!r} is too large to fetch; import it from a folder.")
    return wanted


def _download(repository: str, commit: str, file: RepoSibling, folder: Path) -> None:
    path = Path(hf_hub_download(repository, file.rfilename, revision=commit, local_dir=folder))
    size = path.stat().st_size
    with path.open("rb") as content:
        if file.lfs:
            expected, found = file.lfs.sha256, hashlib.file_digest(content, "sha256").hexdigest()
        else:  # git's own name of a file's content
            blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
            blob.update(content.read())
            expected, found = str(file.blob_id), blob.hexdigest()
    if found != expected:
        path.unlink()
        raise StackError(f"{file.rfilename!r} arrived damaged; run the import again.")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


# The first that fits an error of the library tells what to do about it.
_REMEDIES: tuple[tuple[type[Exception], str], ...] = (
    (errors.OfflineModeIsEnabled, "The hub is switched off by HF_HUB_OFFLINE; unset it."),
    (errors.GatedRepoError, "{0} wants its terms accepted; do so on the hub, and set HF_TOKEN."),
    (
        errors.RepositoryNotFoundError,
        "{0} does not exist, or is private; check the name, or set HF_TOKEN.",
    ),
    (errors.RevisionNotFoundError, "{0} has no revision {1!r}; name a branch, tag or commit."),
    (errors.HfHubHTTPError, "The hub answered {2}; run the import again later."),
    (HTTPError, "The hub does not answer; check the network and run the import again ({2})."),
    (
        errors.LocalEntryNotFoundError,
        "The hub does not answer any more; check the network and run the import again.",
    ),
)


def _reason(error: Exception, repository: str, revision: str) -> str:
    for kind, remedy in _REMEDIES:
        if isinstance(error, kind):
            status = getattr(getattr(error, "response", None), "status_code", None)
            return remedy.format(repository, revision, status or error)
    return str(error)


def main(arguments: Sequence[str]) -> int:
    """Fetch; give the exit status: 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m services.stack.hub")
    parser.add_argument("repository", help="ORG/NAME")
    parser.add_argument("revision", help="a branch, tag or commit, or nothing")
    parser.add_argument("root", type=Path, help="where the folder is made")
    options = parser.parse_args(arguments)
    try:
        folder, commit = fetch(options.repository, options.revision, options.root)
    except (StackError, HTTPError, OSError, ValueError) as error:
        reason = _reason(error, options.repository, options.revision)
        print(" ".join(reason.split()), file=sys.stderr)
        return 2
    print(json.dumps({"folder": str(folder), "commit": commit}))
    return 0


def _say(step: str) -> None:
    print(step, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
