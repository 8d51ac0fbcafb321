"""What a directory job will do, decided from names alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from mcltool_shapes import ShapesPlugin

from mcltool import ConditionFiles, UsageError
from mcltool.translate.plan import output_names, pair_exemplars, plan

PLUGIN = ShapesPlugin()


def touch(folder: Path, *names: str) -> Path:
    """Empty files: a plan reads none."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def planned(tmp_path: Path, pair: str = "auto") -> dict[str, tuple[str, str]]:
    tasks = plan(PLUGIN, tmp_path / "conditions", tmp_path / "exemplars", tmp_path / "out", pair)
    return {task.input: (task.exemplar_name, task.output) for task in tasks}


def test_outputs_mirror_the_tree_and_exemplars_go_by_name(tmp_path: Path) -> None:
    touch(tmp_path / "conditions", "b.png", "a/1.png", "a/2.bmp", "a/deep/3.PNG", ".hidden.png", "notes.txt")
    touch(tmp_path / "exemplars", "a/1.jpg", "a/2.jpg", "elsewhere/3.jpg", "b.webp", "unused.jpg")
    assert planned(tmp_path) == {
        "a/1.png": ("a/1.jpg", "a/1.png"),
        "a/2.bmp": ("a/2.jpg", "a/2.png"),
        "a/deep/3.PNG": ("elsewhere/3.jpg", "a/deep/3.png"),
        "b.png": ("b.webp", "b.png"),
    }


@pytest.mark.parametrize(
    ("ids", "exemplars", "pair", "expected"),
    [
        (["a", "b"], ["b.jpg", "a.jpg"], "auto", [1, 0]),
        (["x/a"], ["a.jpg", "x/a.jpg"], "stem", [1]),  # the same path goes before the same base name
        (["x/a", "y/a"], ["z/a.jpg"], "stem", [0, 0]),
        (["a.b", "a"], ["a.jpg", "a.b.jpg"], "stem", [1, 0]),
        (["a", "b"], ["style.jpg"], "auto", [0, 0]),  # no names alike, but only one to choose
        (["a", "b"], ["a.jpg"], "auto", [0, 0]),
        (["a"], ["b.jpg"], "one", [0]),
        (["a", "b", "c"], ["p.jpg", "q.jpg"], "cycle", [0, 1, 0]),
        (["b"], ["a.jpg", "b.jpg"], "cycle", [0]),
    ],
)
def test_pairing(ids: list[str], exemplars: list[str], pair: str, expected: list[int]) -> None:
    assert pair_exemplars(ids, exemplars, pair) == expected


@pytest.mark.parametrize(
    ("ids", "exemplars", "pair", "cause"),
    [
        (["a", "b"], ["a.jpg", "c.jpg"], "auto", r"1 of 2 conditions .* such as b; choose .*--pair cycle"),
        (["a"], ["a.jpg", "a.png"], "auto", r"1 of 1 conditions .* such as a; choose"),  # which of the two?
        (["a"], ["x/a.jpg", "y/a.jpg"], "stem", r"--pair stem: 1 of 1 conditions"),
        (["a", "b"], ["a.jpg"], "stem", r"--pair stem: 1 of 2 conditions .* such as b"),
        (["a"], ["a.jpg", "b.jpg"], "one", r"--pair one: expected a single exemplar, found 2"),
        (["a"], ["a.jpg"], "two", r"--pair two: must be one of auto, stem, one, cycle"),
    ],
)
def test_a_pairing_that_leaves_a_choice_is_asked_for(
    ids: list[str], exemplars: list[str], pair: str, cause: str
) -> None:
    with pytest.raises(UsageError, match=cause):
        pair_exemplars(ids, exemplars, pair)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["a.jpg", "b.png"], ["a.png", "b.png"]),
        (["a.jpg", "a.png", "x/a.png"], ["a.jpg.png", "a.png.png", "x/a.png"]),
        (["a.jpg", "a.jpg.png", "a.png"], ["a.jpg.png", "a.jpg.png.png", "a.png.png"]),
    ],
)
def test_the_suffix_is_replaced_and_kept_where_two_outputs_would_collide(
    inputs: list[str], expected: list[str]
) -> None:
    assert output_names([name.rpartition(".")[0] for name in inputs], inputs) == expected


def test_conditions_of_several_files_or_with_ids_of_their_own_are_named_by_id(tmp_path: Path) -> None:
    folder = touch(tmp_path / "conditions", "poses.json", "p_candidate.txt", "p_subset.txt", "q.png", "q.txt")
    touch(tmp_path / "exemplars", "style.jpg")

    class Poses(ShapesPlugin):
        def conditions(self, _: Path):  # type: ignore[no-untyped-def]
            yield ConditionFiles("p", (folder / "p_candidate.txt", folder / "p_subset.txt"))
            yield ConditionFiles("q", (folder / "q.png", folder / "q.txt"))
            yield ConditionFiles("poses/1", (folder / "poses.json",))
            yield ConditionFiles("poses/2", (folder / "poses.json",))

    tasks = plan(Poses(), folder, tmp_path / "exemplars", tmp_path / "out")
    assert [(task.input, task.output) for task in tasks] == [
        ("p", "p.png"),
        ("q", "q.png"),
        ("poses/1", "poses/1.png"),
        ("poses/2", "poses/2.png"),
    ]


@pytest.mark.parametrize("name", ["../a", "/a", "b/../../a"])
def test_no_output_leaves_the_output_folder(name: str) -> None:
    with pytest.raises(UsageError, match="not a name below CONDITIONS"):
        output_names([name], [name])


def test_two_conditions_of_one_name_are_an_error_of_the_plugin() -> None:
    with pytest.raises(UsageError, match="p: the plugin gives several conditions this name"):
        output_names(["p", "p"], ["p", "p"])


@pytest.mark.parametrize("out", ["conditions", "conditions/out", "exemplars/out", "link/out"])
def test_an_out_whose_files_would_become_inputs_is_refused(tmp_path: Path, out: str) -> None:
    touch(tmp_path / "conditions", "a.png")
    touch(tmp_path / "exemplars", "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "conditions")
    with pytest.raises(UsageError, match=r"OUT must not lie in (CONDITIONS|EXEMPLARS)"):
        plan(PLUGIN, tmp_path / "conditions", tmp_path / "exemplars", tmp_path / out)


def test_an_output_that_would_replace_a_condition_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "masks", "masks/a.png", "a.png")
    touch(tmp_path / "exemplars", "a.jpg")
    with pytest.raises(UsageError, match=r"masks/a\.png: an output would fall among the conditions"):
        plan(PLUGIN, tmp_path / "masks", tmp_path / "exemplars", tmp_path)
    (tmp_path / "masks" / "masks" / "a.png").unlink()
    assert len(plan(PLUGIN, tmp_path / "masks", tmp_path / "exemplars", tmp_path)) == 1


@pytest.mark.parametrize("empty", ["conditions", "exemplars"])
def test_missing_and_empty_folders_are_named(tmp_path: Path, empty: str) -> None:
    touch(tmp_path / "conditions", "a.png")
    touch(tmp_path / "exemplars", "a.jpg")
    next((tmp_path / empty).iterdir()).unlink()
    with pytest.raises(UsageError, match=f"{empty}: no (conditions of shapes|photos) in it"):
        planned(tmp_path)
    (tmp_path / empty).rmdir()
    with pytest.raises(UsageError, match=f"{empty}: no such folder"):
        planned(tmp_path)
