"""Which photos are for training and which are held out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath

from mcltool import UsageError

log = logging.getLogger("mcltool.celebahq")

SPLITS = ("train", "val")
PARTITION = "list_eval_partition.txt"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
VAL_SHARE = 0.1
"""Share of the photos held out where no file says which."""

_CODES = {"train": "0", "val": "1"}


def choose(numbers: Sequence[int], folders: Sequence[Path], split: str) -> list[int]:
    """The members of ``split`` ("train" or "val") among ``numbers``, in their order.

    The first of these that is found in one of ``folders`` decides:

    1. train.txt and val.txt: a number or file name a line. Where only one of them is there, the other split
       is all the rest; with the two files of 2 beside a val.txt alone, the training photos of the official
       split (24183, as UNITE has them) without those of val.txt. What was taken is said.
    2. list_eval_partition.txt of CelebA with CelebA-HQ-to-CelebA-mapping.txt of CelebAMask-HQ: the official
       split, 0 for training and 1 for validation. The test photos (2) are in neither: they stay unseen.
    3. A split by the hash of the number: a photo keeps its split whatever others come or go. Of two photos or
       more each split has at least one.

    Raises UsageError for a damaged file, a listed photo that is not there, and an empty split.
    """
    lists = {name: path for name in SPLITS if (path := _find(f"{name}.txt", folders))}
    partition, mapping = _find(PARTITION, folders), _find(MAPPING, folders)
    if lists:
        chosen, source = _by_lists(numbers, lists, split), " and ".join(map(str, lists.values()))
        if split == "train" and "train" not in lists:
            if partition and mapping:
                official = set(_by_partition(numbers, partition, mapping, split))
                chosen = [number for number in chosen if number in official]
                log.info(
                    "celebahq: %d photos train, those of %s that %s lacks",
                    len(chosen),
                    partition,
                    lists["val"],
                )
            else:
                log.warning(
                    "%s is alone: all the other %d photos train; the authors leave CelebA's test photos out (24183 are "
                    "left), which train.txt, or %s with %s beside it, would say",
                    *(lists["val"], len(chosen), PARTITION, MAPPING),
                )
    elif partition:
        if not mapping:
            raise UsageError(
                f"{partition}: {MAPPING} of CelebAMask-HQ is not beside it, which it takes as well"
            )
        chosen, source = _by_partition(numbers, partition, mapping, split), str(partition)
    else:
        chosen, source = _by_hash(numbers, split), "the split by hash"
    if not chosen:
        raise UsageError(f"celebahq: no photo is for {split!r} by {source} ({len(numbers)} photos are there)")
    return chosen


def _find(name: str, folders: Sequence[Path]) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _by_lists(numbers: Sequence[int], lists: dict[str, Path], split: str) -> list[int]:
    members = {name: _read_list(path, set(numbers)) for name, path in lists.items()}
    if len(members) == 2 and (both := members["train"] & members["val"]):
        raise UsageError(f"{lists['val']}: photo {min(both)} is in {lists['train'].name} too")
    if split in members:
        return [number for number in numbers if number in members[split]]
    (others,) = members.values()
    return [number for number in numbers if number not in others]


def _read_list(path: Path, known: set[int]) -> set[int]:
    """The numbers in a list such as "2994", "02994.jpg" or "CelebA-HQ-img/2994.jpg" a line."""
    members = set()
    for row, line in enumerate(_lines(path), 1):
        if not line:
            continue
        stem = PurePosixPath(line.replace("\\", "/")).stem
        if not _is_number(stem):
            raise UsageError(
                f"{path}, line {row}: expected the number or file name of a photo, found {line!r}"
            )
        if int(stem) not in known:
            raise UsageError(f"{path}, line {row}: photo {int(stem)} is not there")
        members.add(int(stem))
    return members


def _by_partition(numbers: Sequence[int], partition: Path, mapping: Path, split: str) -> list[int]:
    codes = dict(fields for line in _lines(partition) if len(fields := line.split()) == 2)
    originals = {}
    for row, line in enumerate(_lines(mapping), 1):
        fields = line.split()  # idx, orig_idx, orig_file; the first line says so
        if len(fields) == 3 and _is_number(fields[0]):
            originals[int(fields[0])] = fields[2]
        elif line and row > 1:
            raise UsageError(f"{mapping}, line {row}: expected 'idx orig_idx orig_file', found {line!r}")
    chosen = []
    for number in numbers:
        if number not in originals:
            raise UsageError(f"{mapping}: no line for photo {number}")
        if originals[number] not in codes:
            raise UsageError(f"{partition}: no line for {originals[number]}, the photo {number}")
        if codes[originals[number]] == _CODES[split]:
            chosen.append(number)
    return chosen


def _by_hash(numbers: Sequence[int], split: str) -> list[int]:
    if len(numbers) < 2:
        return list(numbers) if split == "train" else []
    ranked = sorted((_share(number), number) for number in numbers)
    held_out = {number for share, number in ranked if share < VAL_SHARE}
    held_out |= {ranked[0][1]}
    held_out -= {ranked[-1][1]}
    return [number for number in numbers if (number in held_out) == (split == "val")]


def _share(number: int) -> float:
    """A number evenly spread over 0 to 1 that depends on ``number`` alone."""
    return int.from_bytes(sha256(f"celebahq/{number}".encode()).digest()[:8]) / 2**64


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text ({error})") from None
