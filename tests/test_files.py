"""Files are whole or as they were, locks follow no links, and no more is read than can be meant."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from faults import Fault, faults
from translating import files

from mcltool import UsageError
from mcltool.core import files as system
from mcltool.core.files import read_limited, replacing, write_text
from mcltool.core.locks import locked
from mcltool.translate.names import write_pairs
from mcltool.translate.saving import save_picture


def test_a_file_is_private_until_it_is_whole(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as temporary:
        assert temporary.stat().st_mode & 0o777 == 0o600
    umask = os.umask(0o022)
    os.umask(umask)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("call", ["create", "write", "replace"])
def test_a_file_that_cannot_be_written_is_as_it_was(tmp_path: Path, call: str) -> None:
    path = tmp_path / "a.csv"
    write_pairs(path, [("a", "b")])
    before = path.read_bytes()
    for write in (lambda: write_text(path, "new"), lambda: write_pairs(path, [("c", "d")] * 2000)):
        with faults(Fault(call, "EIO")), pytest.raises(OSError, match=r"Input/output"):
            write()
    assert files(tmp_path) == {"a.csv": before}


def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "lock").symlink_to("precious")
    with pytest.raises(UsageError, match="found a link"), locked(tmp_path / "lock", "busy"):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_no_more_is_read_than_can_be_meant(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000)
    assert read_limited(tmp_path / "a", 1000) == b"x" * 1000
    with pytest.raises(OSError, match="larger than"):
        read_limited(tmp_path / "a", 999)
    with pytest.raises(OSError, match="larger than"):
        read_limited(Path("/dev/zero"), 1 << 20)


def test_the_helper_does_what_it_says(tmp_path: Path) -> None:
    """Of short writes, half arrives; and Pillow meets faults too, though it would write past Python."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    with faults(Fault("write", "EIO")), pytest.raises(OSError, match="Input/output"):
        save_picture(system.create(tmp_path / "a.jpg"), pixels, "jpg")
