"""The author guide's code runs. (tests/test_docs.py looks at its commands and links.)"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).parents[1] / "docs" / "plugins.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


def test_the_code_of_the_guide_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    guide = ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", guide)  # where pickling looks the classes up
    for number, code in enumerate(blocks("python")):
        exec(compile(code, f"docs/plugins.md, block {number}", "exec"), guide.__dict__)
    assert {"MeadowPlugin", "PencilPlugin", "EyesPlugin"} <= set(vars(guide))
