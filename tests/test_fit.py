"""A training run from the command line: what it writes, that it repeats, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file

from mcltool.cli.main import cli
from mcltool.core.config import Config, resolve
from mcltool.core.weights import load_model, read_header, summary
from mcltool.data.batch import condition_planes
from mcltool.data.dataset import TrainingData
from mcltool.data.loader import SampleStream, training_loader
from mcltool.plugin import registry as plugins
from mcltool.train.job import TrainingJob
from mcltool.train.loop import fit
from mcltool.train.recorder import Progress
from mcltool.train.trainer import Trainer

pytestmark = pytest.mark.slow

QUICK = (
    "--max-steps 4 --batch-size 2 --workers 0 --device cpu --precision fp32 --set train.log_every=1 "
    "--set train.validation_samples=4"
)
CORRESPONDENCE = {"loss_total", "loss_mcl", "loss_cons", "loss_warp", "loss_mask"}
"""Terms of the preset tiny before the generator joins."""


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, ["fit", "--plugin", "shapes", *QUICK.split(), *args])


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_speed(folder: Path) -> list[dict[str, float]]:
    speed = ("images_per_second", "memory_mib")
    return [{name: value for name, value in row.items() if name not in speed} for row in rows(folder)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of 4 steps."""
    folder = tmp_path_factory.mktemp("fit") / "run"
    result = run("--run", str(folder), "--seed", "3")
    assert result.exit_code == 0, result.output
    assert result.output.endswith(f"weights: {folder / 'weights.safetensors'}\n")
    assert "step 4/4" in result.output
    return folder


# --- What a run writes ---


def test_a_run_folder_has_the_configuration_metrics_samples_and_weights(done: Path) -> None:
    files = sorted(path.relative_to(done).as_posix() for path in done.rglob("*") if path.is_file())
    assert files == [
        "checkpoints/step-000004/state.json",
        "checkpoints/step-000004/training.safetensors",
        "checkpoints/step-000004/weights.safetensors",
        "config.json",
        "metrics.jsonl",
        "report.html",
        "samples/step-000004.png",
        "weights.safetensors",
    ]


def test_the_saved_configuration_is_the_resolved_one(done: Path) -> None:
    config = Config.from_json((done / "config.json").read_text())
    assert (config.plugin, config.preset, config.data.size) == ("shapes", "tiny", (64, 64))
    assert (config.train.max_steps, config.train.batch_size, config.train.seed) == (4, 2, 3)
    assert (config.train.precision, config.train.perceptual) == ("fp32", "none")  # not auto


def test_metrics_have_a_row_a_logged_step_with_a_key_a_term(done: Path) -> None:
    first, second, third, fourth = rows(done)
    assert [row["step"] for row in rows(done)] == [1, 2, 3, 4]
    common = {"step", "lr", "gradient_norm", "skipped", "images_per_second", "memory_mib"}
    assert set(first) == set(second) == common | CORRESPONDENCE
    assert set(third) == set(first) | {"loss_rec"}
    measured = {"vary", "layout", "style", "detail", "patch", "score", "l1", "l1_warp"}
    scores = {f"val_{name}" for name in (*measured, "class_match", "match_error")}
    assert set(fourth) == set(third) | {"loss_gan", "loss_fm", "loss_discriminator"} | scores
    assert all(np.isfinite(value) for row in rows(done) for value in row.values())


def test_the_total_is_the_terms_by_their_weights(done: Path) -> None:
    weights = Config.from_json((done / "config.json").read_text()).loss
    for row in rows(done):
        terms = {name.removeprefix("loss_"): value for name, value in row.items() if name.startswith("loss_")}
        total = terms.pop("total")
        terms.pop("discriminator", None)
        expected = sum(getattr(weights, name) * value for name, value in terms.items())
        assert total == pytest.approx(expected, rel=1e-4)


def test_the_sample_has_a_row_a_style_and_a_column_a_picture(done: Path) -> None:
    with Image.open(done / "samples" / "step-000004.png") as sheet:
        assert sheet.width >= 5 * 128
        assert sheet.height >= 6 * 128
        assert len(sheet.convert("RGB").getcolors(1 << 24) or []) > 1000


def test_the_weights_say_what_they_are(done: Path) -> None:
    header = read_header(done / "weights.safetensors")
    assert header.config == Config.from_json((done / "config.json").read_text())
    assert (header.step, header.condition) == (4, plugins.load("shapes").spec)
    assert 1e6 < summary(done / "weights.safetensors")["parameters"] < 4e6


def test_weights_saved_and_loaded_give_bit_identical_output_on_the_cpu(tmp_path: Path) -> None:
    """The network that was trained, its averaged weights, against what its file gives."""
    plugin = plugins.load("shapes")
    config = quick_config()
    folder = tmp_path / "run"
    trainers: list[Trainer] = []

    class Kept(Trainer):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            trainers.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mcltool.train.job.Trainer", Kept)
        weights = fit(TrainingJob(plugin, config, None, folder, device="cpu"))
    assert weights is not None
    model, _ = load_model(weights)
    batch = next(
        training_loader(TrainingData(plugin, plugin.index(None, "val"), config.data, 0), STREAM, 0, "cpu")
    )
    X, Z = condition_planes(batch.condition, plugin.spec), batch.exemplar
    trained = trainers[0].average.to(memory_format=torch.contiguous_format)  # training has channels last
    with torch.inference_mode():
        ours, theirs = trained(X, Z), model(X, Z)
    assert torch.equal(ours.image, theirs.image)
    assert torch.equal(ours.warped, theirs.warped)


def test_weights_can_be_written_elsewhere(tmp_path: Path) -> None:
    out = tmp_path / "new" / "mine.safetensors"
    result = run("--run", str(tmp_path / "run"), "--out", str(out), "--max-steps", "1")
    assert result.exit_code == 0, result.output
    assert result.output.endswith(f"weights: {out}\n")
    assert read_header(out).step == 1
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_settings_reach_the_run(tmp_path: Path) -> None:
    changes = ["--max-steps", "1", "--size", "32x64", "--set", "loss.cyc=1", "--set", "loss.mcl_positions=16"]
    result = run("--run", str(tmp_path / "run"), *changes)
    assert result.exit_code == 0, result.output
    config = Config.from_json((tmp_path / "run" / "config.json").read_text())
    assert (config.data.size, config.loss.cyc, config.loss.mcl_positions) == ((32, 64), 1.0, 16)
    assert set(rows(tmp_path / "run")[0]) >= CORRESPONDENCE | {"loss_cyc"}
    tensors = load_file(tmp_path / "run" / "weights.safetensors")
    assert tensors["correspondence.scm.weight"].shape[1:] == (8, 16)  # the grid of 32 x 64 pixels


# --- That it repeats ---


def test_the_same_seed_gives_the_same_metrics_and_weights_with_any_number_of_workers(
    done: Path, tmp_path: Path
) -> None:
    assert run("--run", str(tmp_path / "again"), "--seed", "3", "--workers", "1").exit_code == 0
    assert without_speed(tmp_path / "again") == without_speed(done)
    ours, theirs = load_file(tmp_path / "again/weights.safetensors"), load_file(done / "weights.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_another_seed_gives_another_run(done: Path, tmp_path: Path) -> None:
    assert run("--run", str(tmp_path / "run"), "--seed", "4", "--max-steps", "1").exit_code == 0
    assert without_speed(tmp_path / "run")[0]["loss_mcl"] != without_speed(done)[0]["loss_mcl"]


def test_bf16_trains_too(done: Path, tmp_path: Path) -> None:
    assert run("--run", str(tmp_path / "run"), "--seed", "3", "--precision", "bf16").exit_code == 0
    assert Config.from_json((tmp_path / "run" / "config.json").read_text()).train.precision == "bf16"
    for ours, theirs in zip(rows(tmp_path / "run"), rows(done), strict=True):
        assert ours["loss_mcl"] == pytest.approx(theirs["loss_mcl"], rel=0.1)
        assert ours["loss_mcl"] != theirs["loss_mcl"]


# --- What is refused ---


def assert_refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert len(result.output.splitlines()) == 1
    for word in words:
        assert word in result.output


def test_missing_vgg_weights_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path / "home"))
    result = run("--run", str(tmp_path / "run"), "--perceptual", "vgg")
    assert_refused(result, str(tmp_path / "home"), "mcltool weights get vgg19", "--perceptual random")
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_in_use_is_left_alone(done: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*")}
    assert_refused(
        run("--run", str(done)), f"{done}: holds a run already; give another --run, or go on with --resume"
    )
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*")} == before


def test_places_that_cannot_be_written_are_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    free = str(tmp_path / "run")
    assert_refused(run("--run", str(tmp_path / "file")), f"{tmp_path / 'file'}: cannot be written")
    assert_refused(
        run("--run", str(tmp_path / "file" / "run")), f"{tmp_path / 'file'} is not a writable directory"
    )
    out = str(tmp_path / "file" / "w.safetensors")
    assert_refused(run("--run", free, "--out", out), f"{tmp_path / 'file'} is not a writable directory")
    out = str(tmp_path / "folder")
    assert_refused(
        run("--run", free, "--out", out), f"{out}: expected a file for the weights, found a folder"
    )
    assert not Path(free).exists()


@pytest.mark.parametrize(
    ("args", "cause"),
    [
        (["--size", "50"], "data.size: 50 is not a multiple of 4"),
        (["--precision", "fp16"], "--precision fp16 needs a GPU"),
        (["--device", "tpu"], "--device tpu: no such device"),
        (["--max-steps", "0"], "train.max_steps: must be at least 1"),
        (["--seed", "-1"], "train.seed: must not be negative"),
        (["--set", "train.lr=0"], "train.lr: must be above 0"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(args: list[str], cause: str, tmp_path: Path) -> None:
    assert_refused(run("--run", str(tmp_path / "run"), *args), cause)
    assert list(tmp_path.iterdir()) == []


# --- The trainer ---

STREAM = SampleStream(0, 1, 0, 1, 2)


def quick_config(**settings: Any) -> Config:
    changes = {name.replace("__", "."): value for name, value in settings.items()}
    small = {"train.max_steps": 2, "train.batch_size": 2, "data.size": (32, 32), "data.workers": 0}
    return resolve("shapes", "tiny", small, {"train.precision": "fp32"}, changes)


def trainer(total: int, **settings: Any) -> Trainer:
    config = quick_config(**settings)
    return Trainer(config, plugins.load("shapes").spec, torch.device("cpu"), "fp32", total)


@pytest.fixture(scope="module")
def batch() -> Any:
    plugin, config = plugins.load("shapes"), quick_config()
    data = TrainingData(plugin, plugin.index(None, "train"), config.data, 0)
    return next(training_loader(data, STREAM, 0, "cpu"))


def test_the_learning_rate_warms_up_stays_and_falls_to_zero_over_the_second_half() -> None:
    it = trainer(1000, train__lr=1e-3, train__lr_discriminator=4e-3)
    found = {}
    for step in (0, 24, 49, 50, 499, 500, 750, 999):
        it.steps_done = step
        found[step] = it._rate()
        it.optimiser.begin(found[step])
        it.optimiser_d.begin(found[step])
        assert it.optimiser.adam.param_groups[0]["lr"] == pytest.approx(found[step] * 1e-3)
        assert it.optimiser_d.adam.param_groups[0]["lr"] == pytest.approx(found[step] * 4e-3)
    expected = {0: 0.02, 24: 0.5, 49: 1, 50: 1, 499: 1, 500: 1, 750: 0.5, 999: 0.002}
    assert found == pytest.approx(expected)


def test_networks_join_when_their_share_of_the_steps_is_reached(batch: Any) -> None:
    it = trainer(4, train__generator_start=0.5, train__gan_start=0.75)
    seen = [set(it.step(batch).losses) for _ in range(4)]
    assert ["loss_rec" in terms for terms in seen] == [False, False, True, True]
    assert ["loss_discriminator" in terms for terms in seen] == [False, False, False, True]


def test_a_step_changes_what_it_trains_and_nothing_else(batch: Any) -> None:
    it = trainer(4, train__generator_start=0.5, train__gan_start=0.75)

    def state() -> dict[str, list[torch.Tensor]]:
        parts = {
            "encoders": [*it.net.encode_condition.parameters(), *it.net.encode_photo.parameters()],
            "scm": it.net.correspondence.parameters(),
            "generator": it.net.generator.parameters(),
            "discriminator": it.discriminator.parameters(),
        }
        return {name: [p.detach().clone() for p in parameters] for name, parameters in parts.items()}

    changed = []
    for _ in range(4):
        before = state()
        it.step(batch)
        after = state()
        pairs = {name: zip(before[name], after[name], strict=True) for name in before}
        changed.append({name for name, pair in pairs.items() if any(not torch.equal(a, b) for a, b in pair)})
    always = {"encoders", "scm"}
    assert changed == [always, always, always | {"generator"}, always | {"generator", "discriminator"}]


def test_the_averaged_weights_follow_the_trained_ones(batch: Any) -> None:
    it = trainer(3, train__ema=0.5)
    expected = [p.detach().clone() for p in it.net.parameters()]
    for step in range(3):
        it.step(batch)
        decay = min(0.5, (1 + step) / (10 + step))  # it forgets faster while there is little to remember
        expected = [
            decay * e + (1 - decay) * p.detach() for e, p in zip(expected, it.net.parameters(), strict=True)
        ]
    for found, wanted in zip(it.average.parameters(), expected, strict=True):
        torch.testing.assert_close(found, wanted)
        assert not found.requires_grad


def test_training_lowers_the_loss_it_is_asked_for(batch: Any) -> None:
    it = trainer(
        40, train__generator_start=1.0, loss__cons=0.0, loss__mask=0.0, loss__warp=0.0, loss__mcl=1.0
    )
    history = [it.step(batch).losses["loss_mcl"] for _ in range(15)]
    assert set(it.step(batch).losses) == {"loss_total", "loss_mcl"}
    assert history[-1] < 0.9 * history[0]


def test_a_run_that_is_not_finished_has_no_weights(tmp_path: Path) -> None:
    config = quick_config()
    out = tmp_path / "w.safetensors"
    steps: list[Progress] = []

    def show(progress: Progress) -> None:
        assert not out.exists()
        steps.append(progress)

    fit(TrainingJob(plugins.load("shapes"), config, None, tmp_path / "run", out, "cpu"), show)
    first, last = steps
    assert (first.result.step, first.total, first.batch_size, first.sample) == (1, 2, 2, None)
    assert last.sample is not None
    assert last.sample.exists()
    assert out.exists()
