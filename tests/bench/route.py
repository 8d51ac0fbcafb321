"""The way of a condition: which modules of mcltool/translate it passes, and which classes carry it.

translate-dir runs on a few conditions and on more of them. A module is on the way where calls of its functions grow
with their number, a class is a carrier where its objects do. Prints both:

    python tests/bench/route.py
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from translating import make_condition, make_photo, make_weights

FEW, MANY = 3, 30
"""More than the number that is read ahead, and alike in batches."""


def traced(count: int, folder: Path) -> tuple[Counter[str], Counter[str]]:
    """Calls by module and objects made by class, of a job of ``count`` conditions with one exemplar."""
    from mcltool.cli.main import cli

    make_weights(folder / "w.safetensors")
    make_photo(folder / "style.png")
    for number in range(count):
        make_condition(folder / "masks" / f"{number:02d}.png")
    calls: Counter[str] = Counter()
    made: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_globals.get("__name__", "")
        if event != "call" or not name.startswith("mcltool.translate."):
            return
        if frame.f_code.co_filename == "<string>":  # what dataclass and NamedTuple generate
            owner = frame.f_locals.get("self", frame.f_locals.get("_cls"))
            made[getattr(owner, "__name__", type(owner).__name__)] += 1
        elif frame.f_code.co_name != "<module>":
            calls[name.rpartition(".")[2]] += 1

    arguments = [str(folder / name) for name in ("masks", "style.png", "out")]
    options = ["--weights", str(folder / "w.safetensors"), "--device", "cpu", "--batch-size", "1"]
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        result = CliRunner().invoke(cli, ["translate-dir", *arguments, *options])
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return calls, made


def main() -> None:
    found = []
    for count in (FEW, FEW, MANY):  # the first run imports
        with tempfile.TemporaryDirectory() as name:
            found.append(traced(count, Path(name)))
    (_, few), (_, many) = found[1:]
    modules = sorted(name for name in found[2][0] if found[2][0][name] - found[1][0][name] >= MANY - FEW)
    carriers = sorted(name for name in many if many[name] - few[name] >= MANY - FEW)
    print(f"{len(modules)} modules: {', '.join(modules)}")
    print(f"{len(carriers)} carriers: {', '.join(carriers)}")


if __name__ == "__main__":
    main()
