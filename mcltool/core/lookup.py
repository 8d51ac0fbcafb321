"""Finding the weights file that is meant: by name, run folder or hub address, or the default where none is named."""

from __future__ import annotations

import os
from pathlib import Path

from mcltool.core.errors import UsageError
from mcltool.core.files import digest
from mcltool.core.hub import SCHEME, fetch_weights
from mcltool.core.index import find_entry, home, read_index
from mcltool.core.weights import read_header


def find_weights(name: str | os.PathLike[str]) -> Path:
    """The weights file that ``name`` means: every command's --weights, and ``from_pretrained``.

    A file; a run folder, or one that ``mcltool publish`` wrote; the name of weights that come with mcltool or that
    ``mcltool weights get`` got; or hf://ORG/NAME[@REVISION]. Raises UsageError where it is none of these, and as
    ``fetch_weights`` and ``shipped_weights`` do.
    """
    text = os.fspath(name)
    if text.startswith(SCHEME):
        return fetch_weights(text)
    path = Path(text)
    if path.is_dir():
        return _in_folder(path) or _named(text)
    if path.exists() or path.name != text or path.suffix:
        return path  # a file: whoever reads it says what is wrong with it
    return _named(text)


def _in_folder(folder: Path) -> Path | None:
    """The weights in a run folder or a published one; None where there are none."""
    for file in ("weights.safetensors", "model.safetensors"):
        if (folder / file).is_file():
            return folder / file
    if newest := _newest_checkpoint(folder):
        raise UsageError(
            f"{folder}: this run is not finished; take its newest checkpoint, --weights {newest.parent}, or go on with "
            f"mcltool fit --resume --run {folder}"
        )
    return None


def _newest_checkpoint(run: Path) -> Path | None:
    """The weights in the newest checkpoint of a run, if it has any."""
    checkpoints = (run / "checkpoints").glob("step-*/weights.safetensors")
    return max(checkpoints, key=lambda path: (len(path.parent.name), path.parent.name), default=None)


def _named(name: str) -> Path:
    """The file of weights that came with mcltool or were downloaded."""
    folder = home() / "weights"
    shipped = [known for known, entry in read_index().items() if entry.path]
    if name in shipped:
        return shipped_weights(name)
    path = folder / f"{name}.safetensors"
    if path.is_file():
        return path
    raise UsageError(
        f"{name}: no weights file, run folder or name; the names here are {', '.join(shipped)} ('mcltool weights list' "
        "shows what 'weights get' can get)"
    )


def default_weights(folder: Path) -> Path:
    """What is taken where no weights are named: those of the newest finished run below ``folder``.

    Raises UsageError as ``newest_weights``, and where there are none: a run that is not finished is then named with
    its newest checkpoint.
    """
    found = newest_weights(folder)
    if found is None:
        if run := next(iter(_unfinished(folder)), None):
            _in_folder(run)  # says so
        raise UsageError(
            "no weights: there is no runs/*/weights.safetensors below the working folder; name them with --weights "
            "(shapes: those shipped with mcltool, for its synthetic data set), or make them with mcltool fit"
        )
    return found


def newest_weights(folder: Path) -> Path | None:
    """The newest ``runs/*/weights.safetensors`` below ``folder``; None where there is none.

    Raises UsageError where there are runs of several plugins, so that the newest may not be the one that is meant.
    """
    found = sorted(folder.glob("runs/*/weights.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    headers = [read_header(path) for path in found]
    plugins = sorted({*(header.plugin for header in headers), *_unfinished(folder).values()})
    if len(plugins) > 1:
        raise UsageError(
            f"{folder / 'runs'}: has runs of several plugins ({', '.join(plugins)}); choose with --weights"
        )
    own = sorted({header.condition.names for header in headers if header.condition.reading})
    if len(own) > 1:
        words = "; ".join(", ".join(names[:3]) for names in own)
        raise UsageError(
            f"{folder / 'runs'}: has runs of several kinds of conditions ({words}); choose with --weights"
        )
    return found[-1] if found else None


def newer_checkpoint(folder: Path, weights: Path) -> Path | None:
    """The newest checkpoint of a run below ``folder`` that is not finished, where it is newer than ``weights``."""
    for run in _unfinished(folder):
        newest = _newest_checkpoint(run)
        if newest and newest.stat().st_mtime_ns > weights.stat().st_mtime_ns:
            return newest
    return None


def _unfinished(folder: Path) -> dict[Path, str]:
    """The runs below ``folder`` with checkpoints and no weights yet, the newest first, and the plugin of each."""
    runs = {path.parent for path in folder.glob("runs/*/config.json")}
    saved = {run: _newest_checkpoint(run) for run in runs if not (run / "weights.safetensors").is_file()}
    found = [(checkpoint, run) for run, checkpoint in saved.items() if checkpoint]
    found.sort(key=lambda pair: -pair[0].stat().st_mtime_ns)
    return {run: read_header(checkpoint).plugin for checkpoint, run in found}


def shipped_weights(name: str = "shapes") -> Path:
    """The weights ``name`` that come with mcltool, after comparing them with their published SHA-256.

    Raises UsageError where there are none, or the file is not the one that was published.
    """
    try:
        entry = find_entry(name)
        path = Path(entry.path or "")
        found = digest(path)
    except (OSError, UsageError):
        raise UsageError(
            f"{name}: this mcltool came without these weights; name a file with --weights, or make one with mcltool fit"
        ) from None
    if found != entry.sha256:
        raise UsageError(
            f"{path}: not the weights that were shipped (SHA-256 {found[:16]}, expected {entry.sha256[:16]}); "
            "install mcltool again"
        )
    return path
