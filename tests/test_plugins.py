"""Plugins are found through entry points; a broken one breaks only itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from mcltool import UsageError
from mcltool.plugin import registry as plugins

HEALTHY = """
    from mcltool import Condition, ConditionSpec, DatasetPlugin, Sample

    class Plugin(DatasetPlugin):
        name = "NAME"
        version = "7"
        spec = ConditionSpec("labels", ("a", "b"), ((0, 0, 0), (255, 0, 0)))

        def index(self, root, split):
            return [Sample("one")]

        def read_condition(self, files):
            return Condition((1, 1))
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes a distribution as pip would: a module, and metadata with an entry point."""
    before = set(sys.modules)

    def make(name: str, source: str = HEALTHY, distribution: str = "acme-data", version: str = "1.2") -> None:
        home = tmp_path / f"{distribution}-{name}-{version}"
        module = f"plugin_{distribution}_{name}".replace("-", "_")
        info = home / f"{distribution}-{version}.dist-info"
        info.mkdir(parents=True)
        (home / f"{module}.py").write_text(dedent(source).replace("NAME", name))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[mcltool.datasets]\n{name} = {module}:Plugin\n")
        monkeypatch.syspath_prepend(home)

    yield make
    for name in set(sys.modules) - before:
        if name.startswith("plugin_"):
            del sys.modules[name]


def test_a_third_partys_plugin_is_loaded_by_its_name(install: Install) -> None:
    install("meadow")
    assert plugins.load("meadow").spec.names == ("a", "b")


def test_listing_names_imports_none_of_them(install: Install) -> None:
    install("meadow", "raise RuntimeError('imported')")
    assert "meadow" in plugins.names()
    assert "plugin_acme_data_meadow" not in sys.modules


def test_an_unknown_name_is_answered_with_the_nearest_and_all_names(install: Install) -> None:
    install("meadow")
    with pytest.raises(UsageError, match=r"no plugin 'medow' \(did you mean meadow\?\); there are .*meadow"):
        plugins.load("medow")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("raise SystemExit('gone')", "SystemExit: gone"),
        ("raise SystemExit", "SystemExit"),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("x = 1", "AttributeError: .*no attribute 'Plugin'"),
        ("class Plugin: pass", "expected a subclass of mcltool.DatasetPlugin, found <class"),
        (
            HEALTHY.replace('version = "7"', "contract = 99"),
            "made for plugin contract version 99, .* version 2",
        ),
        (HEALTHY.replace("NAME", "other"), "it calls itself 'other'"),
        (HEALTHY.replace("def index", "def no_index"), "TypeError: .*abstract method '?index"),
        (HEALTHY.replace(", (255, 0, 0))", ",)"), "ValueError: .* one palette colour for each"),
        (
            HEALTHY.replace("spec = ConditionSpec", "spec = 1; x = ConditionSpec"),
            "its spec is .*expected a mcltool.ConditionSpec",
        ),
    ],
)
def test_a_broken_plugin_says_why_and_whose_it_is_and_breaks_only_itself(
    install: Install, source: str, cause: str
) -> None:
    install("sick", source, distribution="sick-data", version="0.3")
    install("well")
    with pytest.raises(UsageError, match=f"plugin 'sick' of sick-data 0.3 is broken: .*{cause}") as error:
        plugins.load("sick")
    assert "\n" not in str(error.value)

    listed = {info.name: info for info in plugins.describe()}
    assert (listed["sick"].status, listed["sick"].distribution) == ("broken", "sick-data 0.3")
    assert listed["sick"].cause in str(error.value)
    assert listed["well"] == plugins.PluginInfo("well", "ok", "acme-data 1.2", "7", "labels", 2)
    assert plugins.load("well").name == "well"


def test_a_name_that_two_distributions_register_is_an_error_naming_both(install: Install) -> None:
    install("meadow", distribution="acme-data")
    install("meadow", distribution="zeta-data", version="2.0")
    install("well", distribution="well-data")
    with pytest.raises(UsageError, match=r"(?=.*acme-data 1\.2)(?=.*zeta-data 2\.0).*uninstall one"):
        plugins.load("meadow")
    assert {info.name: info.status for info in plugins.describe()}["meadow"] == "broken"
    assert plugins.load("well").name == "well"


def test_one_distribution_on_two_paths_counts_once(install: Install, tmp_path: Path) -> None:
    install("meadow")
    twin = tmp_path / "twin"
    (tmp_path / "acme-data-meadow-1.2").rename(twin)
    install("meadow")
    sys.path.append(str(twin))
    try:
        assert plugins.load("meadow").name == "meadow"
    finally:
        sys.path.remove(str(twin))


def test_the_built_in_plugins_come_by_the_same_road() -> None:
    listed = {info.name: info for info in plugins.describe()}
    assert listed["shapes"].status == "ok"
    assert (listed["ade20k"].kind, listed["ade20k"].classes) == ("labels", 151)
    assert listed["ade20k"].distribution.startswith("mcltool ")
