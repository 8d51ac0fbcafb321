"""Files that lie where pictures are looked for and are not read: they are named, so that none vanishes silently."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mcltool.plugin.contract import IMAGE_SUFFIXES, Sample

_NO_PICTURES = {
    ".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".html", ".md", ".yaml", ".yml", ".toml", ".ini", ".log", ".py",
    ".sh", ".pdf", ".db", ".lock", ".sha256", ".npy", ".npz", ".mat", ".h5", ".parquet", ".pkl", ".pth", ".pt",
    ".safetensors", ".zip", ".tar", ".gz",
}  # fmt: skip
SHOWN = 3
"""Names in a line."""


def unread(folder: Path) -> str:
    """A line on the files below ``folder`` that may be pictures of a kind that is not read; "" where there are none."""
    if not folder.is_dir():
        return ""
    kinds: Counter[str] = Counter()
    names: list[str] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith(".") or suffix in IMAGE_SUFFIXES or suffix in _NO_PICTURES:
                continue
            if not suffix and not _begins_like_a_picture(os.path.join(place, name)):
                continue  # README, LICENSE
            kinds[suffix or "without suffix"] += 1
            if len(names) < SHOWN:
                names.append(os.path.relpath(os.path.join(place, name), folder))
    if not kinds:
        return ""
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"not read below {folder}: {found} ({_some(names, sum(kinds.values()))}); convert pictures to PNG or JPEG"


def unused(root: Path, samples: Iterable[Sample]) -> str:
    """A line on the pictures below ``root`` that are in none of ``samples``; "" where there are none."""
    used = {os.path.abspath(path) for s in samples for path in (s.photo, *s.condition) if path is not None}
    left: list[str] = []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        left += [
            os.path.relpath(os.path.join(place, name), root)
            for name in sorted(files)
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
            and not name.startswith(".")
            and os.path.abspath(os.path.join(place, name)) not in used
        ]
    return f"in no sample: {len(left)} pictures below {root} ({_some(left, len(left))})" if left else ""


def _begins_like_a_picture(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(8).startswith(
                (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"BM")
            )
    except OSError:
        return False


def _some(names: list[str], count: int) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if count > SHOWN else "")
