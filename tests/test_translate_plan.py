"""What a directory job will do, decided from names alone."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from mcltool_shapes import ShapesPlugin

from mcltool import ConditionFiles, UsageError
from mcltool.translate.job import check_outputs, check_places
from mcltool.translate.names import Pairs, check_distinct, check_id, read_list, write_pairs
from mcltool.translate.pairing import pair_by_names
from mcltool.translate.plan import Conditions, Exemplars, OutputNames, Plan
from mcltool.translate.settings import Shard

PLUGIN = ShapesPlugin()


def touch(folder: Path, *names: str) -> Path:
    """Empty files: a plan reads none."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def make_plan(tmp_path: Path, pair: str = "auto", plugin: ShapesPlugin = PLUGIN) -> Plan:
    conditions, exemplars = Conditions(plugin, tmp_path / "conditions"), Exemplars(tmp_path / "exemplars")
    return Plan(conditions, exemplars, pair_by_names(conditions, conditions.inputs, exemplars.names, pair))


def pairs_of(ids: list[str], exemplars: list[str], pair: str, seed: int = 0) -> list[tuple[int, int]]:
    inputs = [f"{name}.png" for name in ids]
    if Path(pair).is_file():
        pairs = read_list(Path(pair), ids, inputs, exemplars)
    else:
        pairs = pair_by_names(ids, inputs, exemplars, pair, seed)
    return list(zip(*(indices.tolist() for indices in pairs[:2]), strict=True))


def names(inputs: list[str], exemplars: tuple[str, ...] = ("e.jpg",), **options: object) -> list[str]:
    """Outputs of conditions, each with every exemplar."""
    conditions = np.repeat(np.arange(len(inputs), dtype=np.int32), len(exemplars))
    chosen = np.tile(np.arange(len(exemplars), dtype=np.int32), len(inputs))
    outputs = OutputNames(
        [os.path.splitext(name)[0] for name in inputs],
        inputs,
        exemplars,
        Pairs(conditions, chosen),
        ".png",
        **options,
    )  # type: ignore[arg-type]
    return [outputs.of(task) for task in range(len(conditions))]


# --- from folders to tasks ---


def test_outputs_mirror_the_tree_and_exemplars_go_by_name(tmp_path: Path) -> None:
    touch(tmp_path / "conditions", "b.png", "a/1.png", "a/2.bmp", "a/deep/3.PNG", ".hidden.png", "notes.txt")
    touch(tmp_path / "exemplars", "a/1.jpg", "a/2.jpg", "elsewhere/3.jpg", "b.webp", "unused.jpg")
    plan = make_plan(tmp_path)
    assert {task.input: (task.exemplar, task.output) for task in plan} == {
        "a/1.png": ("a/1.jpg", "a/1.png"),
        "a/2.bmp": ("a/2.jpg", "a/2.png"),
        "a/deep/3.PNG": ("elsewhere/3.jpg", "a/deep/3.png"),
        "b.png": ("b.webp", "b.png"),
    }
    task = next(task for task in plan if task.input == "a/1.png")
    assert task.files == (str(tmp_path / "conditions" / "a" / "1.png"),)
    assert [one.path for one in task.exemplars] == [str(tmp_path / "exemplars" / "a" / "1.jpg")]


def test_tasks_of_one_exemplar_are_together_and_else_in_order(tmp_path: Path) -> None:
    touch(tmp_path / "conditions", "a.png", "b.png", "c.png", "d.png")
    touch(tmp_path / "exemplars", "p.jpg", "q.jpg")
    plan = make_plan(tmp_path, "cycle")
    assert [(task.number, task.input, task.exemplar) for task in plan] == [
        (0, "a.png", "p.jpg"),
        (1, "c.png", "p.jpg"),
        (2, "b.png", "q.jpg"),
        (3, "d.png", "q.jpg"),
    ]
    assert list(plan.rows()) == [
        ("a.png", "p.jpg"),
        ("b.png", "q.jpg"),
        ("c.png", "p.jpg"),
        ("d.png", "q.jpg"),
    ]


def test_conditions_of_several_files_or_with_ids_of_their_own_are_named_by_id(tmp_path: Path) -> None:
    folder = touch(tmp_path / "conditions", "poses.json", "p_candidate.txt", "p_subset.txt", "q.png", "q.txt")
    touch(tmp_path / "exemplars", "style.jpg")

    class Poses(ShapesPlugin):
        def conditions(self, _: Path):  # type: ignore[no-untyped-def]
            yield ConditionFiles("p", (folder / "p_candidate.txt", folder / "p_subset.txt"))
            yield ConditionFiles("q", (folder / "q.png", folder / "q.txt"))
            yield ConditionFiles("poses/1", (folder / "poses.json",), "1")
            yield ConditionFiles("poses/2", (folder / "poses.json",), "2")

    plan = make_plan(tmp_path, plugin=Poses())
    assert [(task.input, task.output, task.part) for task in plan] == [
        ("p", "p.png", ""),
        ("q", "q.png", ""),
        ("poses/1", "poses/1.png", "1"),
        ("poses/2", "poses/2.png", "2"),
    ]
    assert [os.path.basename(path) for path in plan[1].files] == ["q.png", "q.txt"]


def test_the_working_folder_itself_can_be_the_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "conditions", "a/b.png")
    touch(tmp_path / "exemplars", "style.jpg")
    monkeypatch.chdir(tmp_path / "conditions")
    conditions = Conditions(PLUGIN, Path())
    assert (conditions.inputs, list(conditions), conditions.files(0)) == (
        ["a/b.png"],
        ["a/b"],
        (("a/b.png",), ""),
    )


def test_a_single_photo_can_be_given_for_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a.jpg", "photos/b.jpg")
    exemplars = Exemplars(tmp_path / "photos" / "b.jpg")
    assert (exemplars.names, exemplars.path(0)) == (["b.jpg"], str(tmp_path / "photos" / "b.jpg"))


def test_what_has_an_images_name_and_is_no_file_is_not_passed_over(tmp_path: Path) -> None:
    folder = touch(tmp_path / "conditions", "x.png/inner.png", "plain.png")
    (folder / "empty.png").mkdir()
    (folder / "dangling.png").symlink_to("nowhere")
    (folder / "loop").symlink_to(folder)
    (folder / "loop.png").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    found = Conditions(PLUGIN, folder).inputs
    assert found == ["dangling.png", "empty.png", "loop.png", "pipe.png", "plain.png", "x.png/inner.png"]


@pytest.mark.parametrize("empty", ["conditions", "exemplars"])
def test_missing_and_empty_folders_are_named(tmp_path: Path, empty: str) -> None:
    touch(tmp_path / "conditions", "a.png")
    touch(tmp_path / "exemplars", "a.jpg")
    next((tmp_path / empty).iterdir()).unlink()
    with pytest.raises(UsageError, match=f"{empty}: no (conditions of shapes|photos) in it"):
        make_plan(tmp_path)
    (tmp_path / empty).rmdir()
    with pytest.raises(UsageError, match=f"{empty}.*: no such folder"):
        make_plan(tmp_path)


# --- pairing ---


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
    assert pairs_of(ids, exemplars, pair) == list(enumerate(expected))


@pytest.mark.parametrize(
    ("ids", "exemplars", "pair"),
    [
        (["a"], ["a.jpg"], "nearest"),
        (["a"], ["a.jpg", "a.png"], "auto"),  # which of the two?
        (["a", "b"], ["c.jpg", "d.jpg"], "auto"),
    ],
)
def test_what_names_do_not_decide_is_left_to_the_features(
    ids: list[str], exemplars: list[str], pair: str
) -> None:
    assert pairs_of(ids, exemplars, pair) == [(number, -1) for number in range(len(ids))]


def test_auto_keeps_what_names_decide_and_leaves_the_rest_open() -> None:
    found = pair_by_names(
        ["s1", "s2", "s3"], ["s1.png", "s2.png", "s3.png"], ["other.jpg", "s1.jpg", "s2.jpg"], "auto"
    )
    assert found.exemplars.tolist() == [1, 2, -1]


def test_cycle_counts_as_people_do() -> None:
    ids, exemplars = ["1", "10", "2", "a/3"], ["p10.jpg", "p9.jpg"]
    assert pairs_of(ids, exemplars, "cycle") == [(0, 1), (1, 1), (2, 0), (3, 0)]


def test_a_single_file_can_be_given_for_a_folder_of_conditions(tmp_path: Path) -> None:
    touch(tmp_path, "masks/a.png", "masks/b.png")
    conditions = Conditions(PLUGIN, tmp_path / "masks" / "b.png")
    assert (conditions.inputs, conditions.files(0)) == (["b.png"], ((str(tmp_path / "masks" / "b.png"),), ""))

    class Poses(ShapesPlugin):
        def conditions(self, folder: Path):  # type: ignore[no-untyped-def]
            yield ConditionFiles("other", (folder / "other.json",))
            for part in "12":
                yield ConditionFiles(f"poses/{part}", (folder / "poses.json",), part)

    touch(tmp_path, "poses/poses.json")
    assert Conditions(Poses(), tmp_path / "poses" / "poses.json").inputs == ["poses/1", "poses/2"]


def test_all_pairs_every_condition_with_every_exemplar() -> None:
    assert pairs_of(["a", "b"], ["p.jpg", "q.jpg"], "all") == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_random_depends_on_the_seed_and_the_conditions_own_name() -> None:
    ids, exemplars = [f"c{n}" for n in range(300)], ["p.jpg", "q.jpg", "r.jpg"]
    drawn = dict(pairs_of(ids, exemplars, "random"))
    assert pairs_of(ids[7:], exemplars, "random") == [(n - 7, e) for n, e in drawn.items() if n >= 7]
    assert dict(pairs_of(ids, exemplars, "random", seed=1)) != drawn
    counts = np.bincount(list(drawn.values()), minlength=3)
    assert counts.min() > 60, "of 300 drawn among 3 each should get about 100"


@pytest.mark.parametrize(
    ("ids", "exemplars", "pair", "cause"),
    [
        (["a"], ["x/a.jpg", "y/a.jpg"], "stem", r"--pair stem: 1 of 1 conditions"),
        (["a", "b"], ["a.jpg"], "stem", r"--pair stem: 1 of 2 conditions .* such as b"),
        (["a"], ["a.jpg", "b.jpg"], "one", r"--pair one: expected a single exemplar, found 2"),
        (["a"], ["a.jpg"], "two", r"--pair two: must be one of auto, stem, one, cycle"),
    ],
)
def test_a_pairing_that_cannot_be_is_one_line(
    ids: list[str], exemplars: list[str], pair: str, cause: str
) -> None:
    with pytest.raises(UsageError, match=cause):
        pairs_of(ids, exemplars, pair)


def test_pairs_written_to_a_csv_file_are_read_back(tmp_path: Path) -> None:
    odd = b"caf\xe9,\n".decode(errors="surrogateescape")
    ids, exemplars = ["a", odd, "c"], ["p.jpg", "q, r.jpg"]
    rows = [("a.png", "q, r.jpg"), (f"{odd}.png", "p.jpg"), ("c.png", "p.jpg"), ("c.png", "q, r.jpg")]
    write_pairs(tmp_path / "pairs.csv", rows)
    assert pairs_of(ids, exemplars, str(tmp_path / "pairs.csv")) == [(0, 1), (1, 0), (2, 0), (2, 1)]


def test_a_csv_file_may_leave_out_suffixes_and_the_header(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("b,p\n\na.png,q.jpg\n")
    assert pairs_of(["a", "b"], ["p.jpg", "q.jpg"], str(tmp_path / "p.csv")) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    "content",
    [
        "condition;exemplar\r\na.png;x\\p.jpg\r\na.png;y\\p.jpg\r\n".encode("utf-8-sig"),
        b"condition, exemplar\na, x/p\na.png, y/p.jpg",
        b"set/a.jpg,set/x/p.jpg,set/y/p.jpg\nset/a.jpg,y/p.jpg",  # CoCosNet's: the first is the best
        b"from,to\nx/p.jpg,a.jpg\ny/p.jpg,a.jpg\n",
    ],
)
def test_pair_takes_the_lists_that_training_takes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pairs.csv").write_bytes(content)
    exemplars = ["x/p.jpg", "y/p.jpg"]
    assert pairs_of(["a"], exemplars, str(tmp_path / "pairs.csv")) == [(0, 0), (0, 1)]


@pytest.mark.parametrize("row", ["a,p.jpg", "a,z/p"])
def test_an_exemplar_that_is_not_the_only_one_of_its_name_is_refused(tmp_path: Path, row: str) -> None:
    (tmp_path / "pairs.csv").write_text(row)
    cause = r"may be several of EXEMPLARS \(x/p.jpg, y/p.jpg\)" if row == "a,p.jpg" else "'z/p' is not in"
    with pytest.raises(UsageError, match=f"line 1: .*{cause}"):
        pairs_of(["a"], ["x/p.jpg", "y/p.jpg"], str(tmp_path / "pairs.csv"))


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        ([["condition", "exemplar"], ["c", "p"]], r"pairs.csv, line 2: 'c' is not in CONDITIONS"),
        ([["a", "x"]], r"pairs.csv, line 1: 'x' is not in EXEMPLARS"),
        ([["a"]], r"pairs.csv, line 1: expected key,exemplar,\.\.\., found 'a' alone"),
        ([["condition", "exemplar", "x"], ["a", "p", "1"]], r"pairs.csv, line 2: unknown column x"),
    ],
)
def test_what_is_wrong_in_a_csv_file_is_named_with_its_line(
    tmp_path: Path, rows: list[list[str]], cause: str
) -> None:
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(UsageError, match=cause):
        pairs_of(["a", "b"], ["p.jpg"], str(tmp_path / "pairs.csv"))


def test_rows_of_names_that_are_not_there_are_left_out_and_counted(tmp_path: Path, caplog) -> None:
    """As in the pairs of pose transfer, which name people whose pose was not found."""
    (tmp_path / "pairs.csv").write_text("from,to\np.jpg,a\np.jpg,c\nx.jpg,b\n")
    pairs = pairs_of(["a", "b"], ["p.jpg"], str(tmp_path / "pairs.csv"))
    assert pairs == [(0, 0)]
    assert "line 3: 'c' is not in CONDITIONS (2 of 3 rows are left out)" in caplog.text
    assert "1 of 2 conditions have no row and are left out, such as b" in caplog.text


# --- names of outputs ---


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
    assert names(inputs) == expected


def test_with_several_exemplars_the_output_names_its_own() -> None:
    assert names(["x/a.png"], ("p.jpg", "deep/q.jpg")) == ["x/a--p.png", "x/a--deep--q.png"]
    assert names(["a.png"], ("p.jpg", "p.png", "q.jpg")) == ["a--p.jpg.png", "a--p.png.png", "a--q.png"]


def test_extras_do_not_collide_with_outputs() -> None:
    assert names(["a.png", "a.warp.png"], extras=("warp",)) == ["a.png.png", "a.warp.png.png"]


def test_outputs_that_collide_whatever_they_are_called_are_refused() -> None:
    with pytest.raises(UsageError, match=r"a--b--c\.png: would be the output of two inputs"):
        names(["a", "a--b"], ("b--c", "c"))


@pytest.mark.parametrize("name", ["../a", "/a", "b/../../a"])
def test_no_output_leaves_the_output_folder(name: str) -> None:
    with pytest.raises(UsageError, match="not a name below CONDITIONS"):
        check_id(name)
    check_id("..a/b")


def test_two_conditions_of_one_name_are_an_error_of_the_plugin() -> None:
    with pytest.raises(UsageError, match="p: the plugin gives several conditions this name"):
        check_distinct(["q", "p", "p"])


@pytest.mark.parametrize("out", ["conditions", "conditions/out", "exemplars/out", "link/out"])
def test_an_out_whose_files_would_become_inputs_is_refused(tmp_path: Path, out: str) -> None:
    touch(tmp_path / "conditions", "a.png")
    touch(tmp_path / "exemplars", "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "conditions")
    with pytest.raises(UsageError, match=r"OUT must not lie in (CONDITIONS|EXEMPLARS)"):
        check_places(tmp_path / "conditions", tmp_path / "exemplars", tmp_path / out)


@pytest.mark.parametrize("inner", ["conditions", "exemplars"])
def test_an_output_that_would_replace_an_input_is_refused(tmp_path: Path, inner: str) -> None:
    touch(tmp_path / "conditions", f"{inner}/a.png", "a.png")
    touch(tmp_path / "exemplars", "a.jpg")
    with pytest.raises(UsageError, match=rf"{inner}/a\.png: an output would fall among the {inner}"):
        check_outputs(make_plan(tmp_path), tmp_path)
    (tmp_path / "conditions" / inner / "a.png").unlink()
    check_outputs(make_plan(tmp_path), tmp_path)


# --- shards ---


def test_shards_take_whole_windows_in_turn_and_every_task_once() -> None:
    mine = np.array([Shard(index, 3).mine(26, 4) for index in range(3)])
    np.testing.assert_array_equal(mine.sum(0), np.ones(26))
    assert np.flatnonzero(mine[1]).tolist() == [4, 5, 6, 7, 16, 17, 18, 19]


def test_a_shard_is_written_from_1_to_n() -> None:
    assert Shard.parse("2/8") == Shard(1, 8)
    for text in ("0/8", "9/8", "2", "a/b", "-1/2"):
        with pytest.raises(UsageError, match="expected I/N"):
            Shard.parse(text)
