"""``mcltool plugins``: a plugin that keeps the contract passes, each way to break it is found and named."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mcltool import Condition, ConditionSpec, DatasetPlugin, Sample, UsageError, read_labels
from mcltool.cli.main import cli
from mcltool.plugin import registry as plugins
from mcltool.plugin.conformance import CHECKS, assert_conforms, run_checks

SPEC = ConditionSpec("labels", ("a", "b"), ((0, 0, 0), (255, 0, 0)))
POINTS = ConditionSpec("channels", ("point",), ((255, 0, 0),))


class Good(DatasetPlugin):
    """ROOT/{train,val}/N.jpg with N.png beside it."""

    name = "good"
    spec = SPEC

    def index(self, root: Path | None, split: str) -> Sequence[Sample]:
        if root is None or split not in ("train", "val") or not (root / split).is_dir():
            raise UsageError(f"{root}: no {split} in it")
        photos = sorted((root / split).glob("*.jpg"))
        return [Sample(path.stem, path, (path.with_suffix(".png"),), group="g") for path in photos]

    def read_condition(self, files: Sequence[Path]) -> Condition:
        if not files:
            raise UsageError("no file")
        labels = read_labels(files[0], 2)
        return Condition((labels.shape[0], labels.shape[1]), labels)


class Joints(Good):
    """Conditions are one point, whatever the files say."""

    name = "joints"
    spec = POINTS

    def condition(self, sample: Sample, short_side: int) -> Condition:
        return Condition((48, 64), points=np.array([[3.0, 4.0]], np.float32))

    def render(self, condition: Condition) -> Any:
        planes = np.zeros((*condition.size, 1), np.float32)
        for x, y in condition.points[~np.isnan(condition.points[:, 0])]:
            planes[int(np.clip(y, 0, planes.shape[0] - 1)), int(np.clip(x, 0, planes.shape[1] - 1))] = 1
        return planes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for number in range(3):
            labels = np.arange(48 * 64, dtype=np.uint32).reshape(48, 64) // (7 + number) % 2
            Image.fromarray(labels.astype(np.uint8)).save(tmp_path / split / f"{split}{number}.png")
            Image.new("RGB", (64, 48), (90, 40 * number, 60)).save(tmp_path / split / f"{split}{number}.jpg")
    return tmp_path


@pytest.mark.parametrize("kind", [Good, Joints])
def test_a_plugin_that_keeps_the_contract_passes(kind: type[Good], root: Path) -> None:
    statuses = {check.name: check.status for check in run_checks(kind(), root)}
    assert set(statuses) == set(CHECKS)
    expected = "skipped" if kind is Joints else "passed"  # it has no files that could be written
    assert statuses.pop("condition files") == expected
    assert set(statuses.values()) == {"passed"}
    assert_conforms(kind(), root)


def broken(**members: Any) -> type[Good]:
    base = Joints if members.pop("points", False) else Good
    return type("Broken", (base,), members)


def _index(change: Callable[[list[Sample]], Any]) -> Callable[..., Any]:
    return lambda self, root, split: change(list(Good.index(self, root, split)))


def _condition(change: Callable[[Condition], Any]) -> Callable[..., Any]:
    return lambda self, sample, side: change(Good.condition(self, sample, side))


def _fails(error: Exception) -> Callable[..., Any]:
    def read(self: Any, files: Sequence[Path]) -> Condition:
        if not files or files[0].stem in ("empty", "damaged", "missing"):
            raise error
        return Good.read_condition(self, files)

    return read


CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("identity", "contract version 7", {"contract": 7}),
    ("identity", "name 'Not Good'", {"name": "Not Good"}),
    ("identity", "version is 2, expected a string", {"version": 2}),
    ("spec", "have the name a", {"spec": ConditionSpec("labels", ("a", "a"), SPEC.palette)}),
    ("spec", "colour of b is .*256", {"spec": ConditionSpec("labels", ("a", "b"), ((0, 0, 0), (256, 0, 0)))}),
    ("defaults", "no setting 'loss.fmm'", {"defaults": {"loss.fmm": 1.0}}),
    ("defaults", "must be of type int", {"defaults": {"train.epochs": "many"}}),
    ("index", "train is empty", {"index": _index(lambda samples: [])}),
    ("index", "expected a sequence", {"index": _index(iter)}),
    ("index", "not unique", {"index": _index(lambda samples: samples + samples[:1])}),
    ("index", "expected mcltool.Sample", {"index": _index(lambda samples: ["one"])}),
    ("index", r"does not do as a file name", {"index": _index(lambda s: [replace(s[0], id="../up")])}),
    ("index", "no such file", {"index": _index(lambda s: [replace(s[0], photo=Path("/none.jpg"))])}),
    ("index", "expected a tuple of Paths", {"index": _index(lambda s: [replace(s[0], condition=["a"])])}),
    (
        "index",
        "are in train and in val",
        {"index": lambda self, root, split: Good.index(self, root, "train")},
    ),
    (
        "refusals",
        "unknown split raises nothing",
        {"index": lambda s, r, split: Good.index(s, r, split[:5] * 0 or "val")},
    ),
    ("photos", r"not \(H, W, 3\) uint8", {"photo": lambda *_: np.zeros((9, 9), np.uint8)}),
    (
        "photos",
        "for a short side of 64",
        {"photo": lambda s, x, side: np.zeros((side // 4, 256, 3), np.uint8)},
    ),
    ("conditions", "expected mcltool.Condition", {"condition": lambda *_: np.zeros((48, 64))}),
    (
        "conditions",
        "raster is .* int64",
        {"condition": _condition(lambda c: replace(c, raster=c.raster.astype(int)))},
    ),
    (
        "conditions",
        "label 2 is outside",
        {"condition": _condition(lambda c: replace(c, raster=c.raster * 0 + 2))},
    ),
    ("conditions", "mirror is", {"condition": _condition(lambda c: replace(c, mirror=((0, 999),)))}),
    (
        "conditions",
        "not one picture",
        {"condition": lambda *_: Condition((64, 64), np.zeros((64, 64), np.uint8))},
    ),
    ("rendering", r"render\(\) gave", {"render": lambda self, c: c.raster[:5]}),
    (
        "rendering",
        "changes its condition",
        {"render": lambda self, c: np.bitwise_xor(c.raster, 1, out=c.raster)},
    ),
    (
        "rendering",
        "expected 0 to 1",
        {"points": True, "render": lambda s, c: np.full((*c.size, 1), 2, np.float32)},
    ),
    (
        "rendering",
        "ValueError: .*NaN",
        {"points": True, "render": lambda s, c: np.zeros((*c.size, 1), np.float32) * int(c.points[0, 0])},
    ),
    ("repeatable", "different photo", {"photo": lambda *_: np.random.randint(0, 255, (64, 86, 3), np.uint8)}),
    ("pickling", "", {"__init__": lambda self: setattr(self, "read", lambda: None)}),
    (
        "condition files",
        "what is read is not",
        {
            "write_condition": lambda self, c, stem: Good.write_condition(
                self, replace(c, raster=1 - c.raster), stem
            )
        },
    ),
    ("condition files", r"conditions\(\) gave \[\]", {"conditions": lambda self, folder: iter(())}),
    (
        "damaged files",
        "empty .png file: expected DataError, found KeyError",
        {"read_condition": _fails(KeyError("x"))},
    ),
    (
        "training samples",
        "",
        {"condition": _condition(lambda c: replace(c, size=(24, 64), raster=c.raster[:24]))},
    ),
]


@pytest.mark.parametrize(("check", "cause", "members"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_each_way_to_break_the_contract_is_found_and_named(
    check: str, cause: str, members: dict[str, Any], root: Path
) -> None:
    found = {outcome.name: outcome for outcome in run_checks(broken(**members)(), root)}[check]
    assert found.status == "failed"
    assert re.search(cause, found.detail), found.detail
    with pytest.raises(AssertionError, match="does not keep the plugin contract"):
        assert_conforms(broken(**members)(), root)


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


def test_check_shows_every_check_and_ends_with_0() -> None:
    result = run("plugins", "check", "shapes", "--json")
    checks = json.loads(result.output)
    assert result.exit_code == 0
    assert [check["name"] for check in checks] == ["loading", *CHECKS]
    assert {check["status"] for check in checks} == {"passed"}


def test_check_ends_with_1_and_says_what_is_wrong(tmp_path: Path) -> None:
    result = run("plugins", "check", "ade20k", "--root", str(tmp_path / "nowhere"))
    assert result.exit_code == 1
    assert "nowhere: no such folder" in " ".join(result.output.split())
    assert "✗ failed   index" in result.output
    assert "1 of 16 checks failed" in result.output


def test_check_of_a_name_that_is_not_there_is_a_usage_error() -> None:
    result = run("plugins", "check", "shape")
    assert (result.exit_code, "did you mean shapes?" in result.stderr) == (2, True)


def test_show_gives_classes_colours_defaults_and_home_page() -> None:
    text = run("plugins", "show", "ade20k").output
    for word in ("sceneparsing.csail.mit.edu", "mcltool 0.", "train.epochs = 200", "windowpane", "#e6e6e6"):
        assert word in text
    document = json.loads(run("plugins", "show", "ade20k", "--json").output)
    assert document["spec"]["names"][9] == "windowpane"
    assert document["defaults"]["data.flip"] is True


# Installed plugins that are broken


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Makes a distribution as pip would, with a plugin whose module has ``source``."""
    before = set(sys.modules)

    def make(name: str, source: str, distribution: str) -> None:
        home = tmp_path / f"{distribution}-{name}"
        module = f"sick_{distribution}_{name}".replace("-", "_")
        info = home / f"{distribution}-1.2.dist-info"
        info.mkdir(parents=True)
        (home / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[mcltool.datasets]\n{name} = {module}:Plugin\n")
        monkeypatch.syspath_prepend(home)

    yield make
    for name in set(sys.modules) - before:
        if name.startswith("sick_"):
            del sys.modules[name]


OLD = """
from mcltool import *
class Plugin(DatasetPlugin):
    name = "old"; contract = 99; spec = None
    def index(self, root, split): ...
    def read_condition(self, files): ...
"""


@pytest.mark.slow
def test_with_broken_plugins_of_every_kind_all_other_commands_work(
    install: Callable[..., None], tmp_path: Path
) -> None:
    install("raises", "print('noise on import'); raise RuntimeError('out of luck')", "raising-data")
    install("exits", "raise SystemExit('bye')", "exiting-data")
    install("old", OLD, "old-data")
    install("twice", "x = 1", "one-data")
    install("twice", "x = 1", "two-data")
    listed = run("plugins", "list", "--json")
    found = {info["name"]: info for info in json.loads(listed.stdout)}
    causes = {name: found[name]["cause"] for name in ("raises", "exits", "old", "twice")}
    assert listed.exit_code == 0
    assert causes["raises"] == "RuntimeError: out of luck"
    assert causes["exits"] == "SystemExit: bye"
    assert "contract version 99" in causes["old"]
    assert "uninstall one of them" in causes["twice"]
    assert found["twice"]["distribution"] in (
        "one-data 1.2 and two-data 1.2",
        "two-data 1.2 and one-data 1.2",
    )
    assert all(found[name]["status"] == "broken" for name in causes)
    assert found["raises"]["distribution"] == "raising-data 1.2"
    for line in run("plugins", "list").stdout.splitlines():
        name = line.split()[0]
        assert name not in causes or ("broken" in line and "1.2" in line and causes[name] in line)

    assert found["shapes"]["status"] == "ok"
    assert run("plugins", "show", "shapes").exit_code == 0
    assert run("data", "preview", "--plugin", "shapes", "--size", "32", f"{tmp_path}/x.png").exit_code == 0
    for name, cause in causes.items():
        checked = run("plugins", "check", name, "--json")
        assert (checked.exit_code, json.loads(checked.stdout)[0]["status"]) == (1, "failed")
        assert cause in json.loads(checked.stdout)[0]["detail"]
        assert run("data", "check", "--plugin", name).exit_code == 2


def test_plugins_can_be_left_out_by_name_and_by_distribution(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    well = OLD.replace("contract = 99; spec = None", "spec = ConditionSpec('labels', ('a',), ((0, 0, 0),))")
    install("old", well, "one-data")
    install("old", "raise RuntimeError", "two-data")
    monkeypatch.setenv("MCLTOOL_DISABLE_PLUGINS", "ade20k, two-data:old")
    assert plugins.load("old").name == "old"
    assert "ade20k" not in plugins.names()
    listed = [(info.name, info.status, info.distribution) for info in plugins.describe()]
    assert ("old", "disabled", "two-data 1.2") in listed
    assert ("old", "ok", "one-data 1.2") in listed
    with pytest.raises(
        UsageError, match="'ade20k' is disabled by MCLTOOL_DISABLE_PLUGINS=ade20k, two-data:old"
    ):
        plugins.load("ade20k")


def test_the_root_is_the_one_given_else_below_mcltool_data(
    monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    monkeypatch.delenv("MCLTOOL_DATA", raising=False)
    assert plugins.data_root(Good(), None) is None
    monkeypatch.setenv("MCLTOOL_DATA", str(root.parent))
    assert plugins.data_root(Good(), None) == root.parent / "good"
    assert plugins.data_root(Good(), root) == root
    assert plugins.data_root(plugins.load("shapes"), None) is None
