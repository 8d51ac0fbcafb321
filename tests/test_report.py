"""What a run shows: report, curves, display, runs list and show, the estimate, TensorBoard."""

from __future__ import annotations

import base64
import json
import re
from io import BytesIO, StringIO
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from rich.console import Console
from training import batches, small_config, small_job, small_trainer

from mcltool.cli.main import cli
from mcltool.core.locks import locked
from mcltool.train import display
from mcltool.train.loop import fit
from mcltool.train.memory import estimate
from mcltool.train.recorder import Progress
from mcltool.train.report import GRIDS, HEIGHT, WIDTH, curves_of, smoothed, svg, write_report
from mcltool.train.run_folder import RunFolder
from mcltool.train.trainer import StepResult


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("report") / "evening"
    fit(small_job(run, train__sample_every=1))
    return run


# --- Curves ---


def test_curves_are_the_numbers_of_the_rows_without_what_was_not_finite() -> None:
    rows = [
        {"step": 1, "loss_a": 3.0},
        {"step": 2, "loss_a": None, "lr": 1},
        {"step": 5, "loss_a": 1.0, "lr": 2},
    ]
    assert curves_of(rows) == {"loss_a": [(1, 3.0), (5, 1.0)], "lr": [(2, 1.0), (5, 2.0)]}


def test_the_running_mean_begins_as_a_plain_mean_and_forgets() -> None:
    assert smoothed([4.0, 2.0], 10) == pytest.approx([4.0, (0.9 * 4 + 2) / 1.9])
    assert smoothed([5.0] * 7, 3) == pytest.approx([5.0] * 7)
    assert smoothed([1.0, 0.0, 0.0], 1) == [1.0, 0.0, 0.0]
    assert abs(smoothed([0.0] * 50 + [1.0] * 50, 5)[-1] - 1) < 1e-3


def points(drawn: str, kind: str) -> list[tuple[float, float]]:
    found = re.search(rf"class={kind} points='([^']*)'", drawn)
    assert found
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found[1].split())]


def test_a_curve_runs_from_edge_to_edge_and_from_lowest_to_highest() -> None:
    drawn = svg([(10, 1.0), (20, 5.0), (40, 3.0)], "a")
    (x0, y0), (x1, y1), (x2, y2) = points(drawn, "raw")
    assert (x1 - x0) * 2 == pytest.approx(x2 - x1, abs=0.2)  # steps 10 and 20 apart
    assert y0 - y1 == pytest.approx(2 * (y0 - y2), abs=0.2)  # 4 and 2 above the lowest; y grows downward
    for label in (">10<", ">step 40<", ">5<", ">1<"):
        assert label in drawn


def test_a_long_curve_is_thinned_out_and_keeps_its_last_point() -> None:
    many = [(step, float(step == 9_999)) for step in range(10_000)]
    found = points(svg(many, "a"), "raw")
    assert len(found) <= 302
    assert found[-1][1] < found[0][1]


def test_one_point_and_a_level_line_can_be_drawn() -> None:
    """In the middle, where they are seen, and not on the axes."""
    dot = svg([(7, 2.0)], "a")
    found = re.search(r"<circle class=dot cx='([\d.]+)' cy='([\d.]+)'", dot)
    assert found
    assert abs(float(found[1]) - WIDTH / 2) < WIDTH / 6
    assert abs(float(found[2]) - HEIGHT / 2) < HEIGHT / 6
    assert ">2<" in dot
    assert ">step 7<" in dot
    (_, y0), (_, y1) = points(svg([(1, 2.0), (2, 2.0)], "a"), "raw")
    assert y0 == y1 == float(found[2])


@pytest.mark.parametrize(
    ("low", "high"), [(-1.2345e-5, -1.1e-5), (2339.0, 123456.0), (1234.5, 1234.6), (0.1, 0.10001)]
)
def test_the_ends_of_an_axis_are_told_apart_and_not_cut_off(low: float, high: float) -> None:
    drawn = svg([(1, low), (2, high)], "a")
    labels = re.findall(r"<text x='([\d.]+)' y='[\d.]+' text-anchor='end'>([^<]+)<", drawn)[:2]
    assert labels[0][1] != labels[1][1]
    for x, text in labels:
        assert len(text) * 6 <= float(x)  # a digit of 10 px letters is less than 6 wide


def test_a_sparkline_goes_up_and_down_and_fits() -> None:
    assert (
        display.sparkline([0.0, 1.0, 0.5, 1.0, 0.0], 5) == "▁█▅█▁"
        or display.sparkline([0.0, 1.0, 0.5, 1.0, 0.0], 5)[2] in "▄▅"
    )
    assert len(display.sparkline([float(i) for i in range(1000)], 32)) <= 32
    assert display.sparkline([], 5) == ""


# --- The report ---


def test_the_report_needs_no_other_file_and_has_curves_grids_and_settings(done: Path) -> None:
    page = RunFolder(done).report.read_text()
    assert not re.search(r"(src|href)\s*=\s*['\"]?(?!data:)[^'\"\s>]", page)
    assert "http" not in page
    for name in (
        "L1 of the warp to a known answer",
        "Class match",
        ">mcl<",
        ">discriminator<",
        "Images a second",
    ):
        assert name in page, name
    assert "<td>loss.mcl</td><td>0.1</td>" in page
    pictures = re.findall(r"src='data:image/jpeg;base64,([^']+)'", page)
    assert len(pictures) == 6
    with (
        Image.open(BytesIO(base64.b64decode(pictures[-1]))) as last,
        Image.open(RunFolder(done).sample_files()[-1]) as drawn,
    ):
        assert last.size == drawn.size
    assert page.index("step-000001") < page.index("step-000006")


def test_the_report_of_a_long_run_has_a_few_grids_from_first_to_last(done: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.samples.mkdir()
    for name in ("config.json", "metrics.jsonl"):
        (tmp_path / name).write_bytes((done / name).read_bytes())
    sample = RunFolder(done).sample_files()[0].read_bytes()
    for step in range(1, 101):
        run.sample_file(step).write_bytes(sample)
    write_report(run)
    shown = re.findall(r"<b>(step-\d+)</b>", run.report.read_text())
    assert len(shown) == GRIDS
    assert (shown[0], shown[-1]) == ("step-000001", "step-000100")


def test_names_in_the_report_are_text_and_not_markup(done: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "<script>alert(1)")
    run.path.mkdir()
    for name in ("config.json", "metrics.jsonl"):
        (run.path / name).write_bytes((done / name).read_bytes())
    write_report(run)
    assert "<script>" not in run.report.read_text()


# --- In a terminal and in a log ---


def progress(step: int, skipped: int = 0, **notes: object) -> Progress:
    losses = {"loss_total": 10.0 / step, "loss_mcl": float("nan") if skipped else 1.0}
    result = StepResult(step, losses, 1e-3, 1.0, False)
    values: dict[str, object] = {"sample": None, "scores": {}, "checkpoint": None} | notes
    return Progress(result, 200, 8, 4.0, 3 << 30, skipped, **values)  # type: ignore[arg-type]


def test_the_panel_has_losses_with_history_speed_memory_time_and_the_newest_files() -> None:
    view = display.LiveView()
    for step in range(1, 60):
        view.add(progress(step))
    view.add(progress(60, sample=Path("runs/a/samples/step-000060.png")))
    view.add(
        progress(
            61, skipped=2, checkpoint=Path("runs/a/checkpoints/step-000061"), scores={"val_l1_warp": 0.25}
        )
    )
    console = Console(file=StringIO(), width=110, force_terminal=False)
    console.print(view.panel())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "step 61 of 200", "4.0 images/s", "3.0 GiB", "0:04:38 left", "2 steps skipped: not finite", "l1_warp 0.250",
        "sample: runs/a/samples/step-000060.png", "checkpoint: runs/a/checkpoints/step-000061",
    ):  # fmt: skip
        assert words in shown
    (total,) = (line for line in shown.splitlines() if "│ total" in line)
    assert "█" in total
    assert total.index("█") < total.rindex("▁")  # it falls


def test_a_log_gets_plain_lines_of_checkpoints_and_of_what_was_skipped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with display.shown() as show:
        show(progress(1))
        show(progress(2))  # within the ten seconds
        show(progress(3, skipped=1))
        show(progress(4, skipped=1))
        show(progress(5, skipped=1, checkpoint=Path("c/step-000005"), scores={"val_l1_warp": 0.5}))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/200", "3/200", "5/200", "c/step-000005"]
    assert "(1 steps skipped: not finite)" in lines[1]
    assert "l1_warp 0.500" in lines[3]


# --- runs ---


def runs(*args: str) -> str:
    result = CliRunner().invoke(cli, ["runs", *args])
    assert result.exit_code == 0, result.output
    return result.output


def test_runs_are_listed_with_their_state(done: Path, tmp_path: Path) -> None:
    folder = done.parent
    fit(small_job(folder / "half", max_minutes=0.0))
    lines = {line.split()[0]: line for line in runs("list", str(folder)).splitlines()}
    assert set(lines) == {"run", "evening", "half"}
    assert re.search(
        r"tiny +32x32 +6/6 +finished +score 0\.\d+, l1 .*l1_warp 0\.\d+, class_match", lines["evening"]
    )
    assert re.search(
        r"1/6 +stopped +score 0\.\d+, l1 .*l1_warp 0\.\d+", lines["half"]
    )  # saved and scored, though not logged
    RunFolder(folder / "half").append(
        {"step": 4, "loss_total": 1.0}
    )  # logged, then killed before it was saved
    assert re.search(r"1/6 +stopped", runs("list", str(folder)).splitlines()[2])
    with locked(RunFolder(folder / "half").lock, "x"):
        assert "training" in runs("list", str(folder)).splitlines()[2]


def test_a_run_is_shown_with_its_losses_checkpoints_and_files(done: Path) -> None:
    shown = runs("show", str(done))
    for words in ("finished", "step 6 (l1_warp", "mcl", "report.html", "weights.safetensors", "config.json"):
        assert words in shown, words


def test_where_there_are_no_runs_it_says_how_to_make_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["runs", "list", str(tmp_path)])
    assert (result.exit_code, result.output) == (
        2,
        f"mcltool: {tmp_path}: no runs in it; 'mcltool fit' makes one\n",
    )
    assert CliRunner().invoke(cli, ["runs", "show", str(tmp_path)]).exit_code == 2


# --- The estimate ---


def test_a_dry_run_prints_the_configuration_sizes_and_memory_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = [
        "fit",
        "--plugin",
        "shapes",
        "--dry-run",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--set",
        "loss.mcl=0.7",
    ]
    result = CliRunner().invoke(cli, asked)
    assert result.exit_code == 0, result.output
    assert re.search(r"preset +tiny, 64x64 pixels, batch 8", result.output)
    assert re.search(r"run folder +runs/shapes-1", result.output)
    assert re.search(r"generator +0\.\d M parameters", result.output)
    assert re.search(r"activations +\d+ MiB", result.output)
    assert "{" not in result.output
    found = json.loads(CliRunner().invoke(cli, [*asked, "--json"]).output)
    assert found["config"]["loss"]["mcl"] == 0.7
    assert found["memory"]["activations"] > 1 << 20
    assert list(tmp_path.iterdir()) == []


def test_the_estimate_counts_what_autograd_really_keeps() -> None:
    """Against the bytes that the hooks of a real step see."""
    trainer = small_trainer(train__batch_size=4)
    (batch,) = batches(trainer.config)
    found = estimate(trainer.config, trainer.spec, "fp32", "none")
    sizes: dict[int, int] = {}
    kept: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _, image = trainer.objective(batch, 0, True)
        trainer.objective_d(batch, image.detach().requires_grad_())
    own = {
        p.untyped_storage().data_ptr() for m in (trainer.net, trainer.discriminator) for p in m.parameters()
    }
    real = sum(size for pointer, size in sizes.items() if pointer not in own)
    assert found.memory["activations"] == pytest.approx(real, rel=0.1)
    assert sum(found.parameters.values()) == sum(
        p.numel() for m in (trainer.net, trainer.discriminator) for p in m.parameters()
    )


@pytest.mark.slow
def test_recomputation_and_parts_lower_the_estimate() -> None:
    def activations(**changes: object) -> int:
        config = small_config(train__batch_size=4, **changes)
        spec = small_trainer().spec
        return estimate(config, spec, "fp32", "none").memory["activations"]

    assert activations(train__recompute=True) < 0.8 * activations()
    assert activations(train__accumulate=4) < 0.3 * activations()
