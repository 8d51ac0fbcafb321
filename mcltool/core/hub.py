"""The Hugging Face Hub: weights by name, and folders pushed there, through huggingface_hub (extra mcltool[hub])."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcltool.core.errors import DataError, McltoolError, UsageError
from mcltool.core.files import MIB, digest, read_limited

SCHEME = "hf://"
WEIGHTS, CHECKSUMS = "model.safetensors", "SHA256SUMS"
"""Files of a published folder; CHECKSUMS is in the form of sha256sum."""


def fetch_weights(name: str) -> Path:
    """The weights file of ``name``, hf://ORG/NAME[@REVISION], in huggingface_hub's cache; got there if need be.

    REVISION is a branch, tag or commit; without a network what the cache has of it is taken. Raises UsageError for a
    name that does not exist, McltoolError where the hub does not give it, DataError where its SHA-256 is not the one
    in the repository's SHA256SUMS; such a file does not stay in the cache.
    """
    repository, revision = _parsed(name)
    hub = _library(name)
    with _explained(name):
        path = Path(hub.hf_hub_download(repository, WEIGHTS, revision=revision))
        try:
            # The cache keeps files as snapshots/COMMIT/NAME.
            sums = Path(hub.hf_hub_download(repository, CHECKSUMS, revision=path.parent.name))
            lines = read_limited(sums, MIB).decode().splitlines()
            published = {file: sha256 for sha256, file in map(str.split, lines)}
        except (hub.errors.EntryNotFoundError, ValueError):  # a repository that mcltool publish did not make
            published = {}
    found = digest(path)
    if published.get(WEIGHTS, found) != found:
        for file in (path.resolve(), path):
            file.unlink(missing_ok=True)
        raise DataError(
            f"{name}: {WEIGHTS} is not the file that was published (SHA-256 {found[:16]}, {CHECKSUMS} says "
            f"{published[WEIGHTS][:16]}); try again"
        )
    return path


def repository_of(path: Path) -> str | None:
    """hf://ORG/NAME@COMMIT of weights in huggingface_hub's cache; None for any other file."""
    found = re.search(r"/models--([\w.-]+?)--([\w.-]+)/snapshots/(\w+)/[^/]+$", path.as_posix())
    return f"{SCHEME}{found[1]}/{found[2]}@{found[3]}" if found else None


def check_push(repository: str) -> None:
    """Raises UsageError where ``push`` cannot work: no library, no such name, or no token."""
    hub = _library("--push")
    _parsed(SCHEME + repository)
    if hub.get_token() is None:
        raise UsageError("--push: no token for the hub; run 'hf auth login', or set HF_TOKEN")


def push(folder: Path, repository: str) -> str:
    """Upload ``folder`` as one commit to the model repository ORG/NAME, made if need be; returns the commit's address.

    Raises McltoolError where the hub refuses.
    """
    hub = _library("--push")
    with _explained(f"--push {repository}"):
        api = hub.HfApi(library_name="mcltool")
        api.create_repo(repository, exist_ok=True)
        made = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Upload with mcltool publish"
        )
    return str(made.commit_url)


def _library(what: str) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise UsageError(f"{what}: needs huggingface_hub: pip install 'mcltool[hub]'") from None
    return huggingface_hub


def _parsed(name: str) -> tuple[str, str | None]:
    """Repository and revision."""
    found = re.fullmatch(rf"{SCHEME}([\w.-]+/[\w.-]+)(?:@(\S+))?", name)
    if not found:
        raise UsageError(f"{name}: expected {SCHEME}ORG/NAME or {SCHEME}ORG/NAME@REVISION")
    return found[1], found[2]


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """The library's errors, as one line that begins with ``what``."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise UsageError(f"{what}: ask for access on the hub's page first, then 'hf auth login'") from None
    except errors.RepositoryNotFoundError:
        raise UsageError(f"{what}: no such repository, or a private one ('hf auth login')") from None
    except errors.RevisionNotFoundError:
        raise UsageError(f"{what}: no such revision") from None
    except errors.LocalEntryNotFoundError:
        raise McltoolError(f"{what}: not in the cache, and the hub cannot be reached; try again") from None
    except errors.EntryNotFoundError:
        raise UsageError(f"{what}: has no {WEIGHTS}; mcltool publish makes such a repository") from None
    except (errors.HFValidationError, OSError, RuntimeError, ValueError) as error:
        cause = str(error).strip().partition("\n")[0]
        raise McltoolError(f"{what}: {cause or type(error).__name__}") from None
