"""``mcltool plugins new``: a copy of plugins/example under another name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mcltool.core.errors import UsageError
from mcltool.core.files import write_text
from mcltool.plugin.contract import PLUGIN_NAME

_LONGEST = 40
_FILES = ("pyproject.toml", "README.md", "mcltool_two_tone.py", "tests/test_two_tone.py")


def write_package(name: str, folder: Path) -> Path:
    """Write a package with the plugin ``name`` to ``folder``, which must not exist; returns it.

    Raises UsageError for a name that cannot be used, and where ``folder`` exists or cannot be written.
    """
    if not PLUGIN_NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(f"{name}: a plugin's name is lower case, a-z 0-9 and single -, such as street-views")
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder}: exists already; give another --out")
    try:
        for path, text in _renamed(name):
            write_text(folder / path, text)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror})") from None
    return folder


def _renamed(name: str) -> Iterator[tuple[str, str]]:
    """Path and text of each file of the example, with ``name`` for its own."""
    words = {
        "two-tone": name,
        "two_tone": name.replace("-", "_"),
        "TwoTone": "".join(part.capitalize() for part in name.split("-")),
    }

    def renamed(text: str) -> str:
        return re.sub("two[-_]tone|TwoTone", lambda found: words[found[0]], text)

    for path in _FILES:
        yield renamed(path), renamed((_example() / path).read_text("utf-8"))


def _example() -> Path:
    """The example: in the installed package, or in plugins/ of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "example_plugin"
    return installed if installed.is_dir() else package.parent / "plugins" / "example"
