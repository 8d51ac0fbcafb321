"""Settings: who wins, what is refused, and that a configuration survives being written down."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mcltool import UsageError
from mcltool.core.config import (
    SECTIONS,
    Config,
    parse_setting,
    parse_size,
    read_toml,
    resolve,
)
from mcltool.core.presets import PRESETS


def test_without_settings_the_preset_is_what_counts_and_the_fields_defaults_are_papers_sizes() -> None:
    defaults = Config("shapes", "paper").settings()
    assert resolve("shapes", "paper").settings() == defaults | PRESETS["paper"]
    assert resolve("shapes", "tiny").data.size == (64, 64)


def test_a_later_layer_wins_setting_by_setting() -> None:
    preset = resolve("shapes", "tiny").loss
    config = resolve("shapes", "tiny", {"loss.mcl": 1.0, "loss.cons": 2.0}, {"loss.mcl": 3.0})
    assert (config.loss.mcl, config.loss.cons, config.loss.rec) == (3.0, 2.0, preset.rec)


def test_defaults_are_of_each_instance_and_cannot_be_changed() -> None:
    config = resolve("shapes", "paper")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.loss.mcl = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("loss.mlc", r"no setting 'loss.mlc' \(did you mean loss.mcl\?\)"),
        ("los.mcl", r"no setting 'los.mcl' \(did you mean loss.mcl\?\)"),
        ("mcl", "no setting 'mcl'"),
        ("zzz", "no setting 'zzz'$"),
        ("model.encoder_widths.x", "no setting 'model.encoder_widths.x'"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(address: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        resolve("shapes", "tiny", {address: 1})


def test_an_unknown_preset_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        UsageError, match=r"no preset 'papr' \(did you mean paper\?\); there are base, paper, "
    ):
        resolve("shapes", "papr")


@pytest.mark.parametrize(
    ("address", "value", "cause"),
    [
        ("loss.mcl", "1", "must be of type float, not '1'"),
        ("loss.mcl", True, "must be of type float, not True"),
        ("loss.mcl", float("nan"), "must be finite, not nan"),
        ("train.lr", float("inf"), "must be finite, not inf"),
        ("train.batch_size", 8.0, "must be of type int, not 8.0"),
        ("train.batch_size", True, "must be of type int, not True"),
        ("loss.mcl_symmetric", 1, "must be of type bool, not 1"),
        ("train.max_steps", "10", "must be of type int, not '10'"),
        ("train.precision", "fp8", "must be one of auto, bf16, fp16, fp32, not 'fp8'"),
        ("loss.perc_layer", "relu6_1", "must be one of relu1_2, .*, not 'relu6_1'"),
        ("data.size", 64, "must be a list, not 64"),
        ("data.size", [64], "needs 2 values"),
        ("data.size", [64, 64.0], "must be of type int, not 64.0"),
        ("model.encoder_widths", "64", "must be a list, not '64'"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(address: str, value: Any, cause: str) -> None:
    with pytest.raises(UsageError, match=f"^{address}: {cause}$"):
        resolve("shapes", "tiny", {address: value})


@pytest.mark.parametrize(
    ("address", "value", "cause"),
    [
        ("model.encoder_widths", [8, 8], "at least 3"),
        ("model.encoder_widths", [8] * 7, "at most 6"),
        ("model.generator_widths", [8, 0, 8], "at least 1 each"),
        ("model.generator_widths", [8] * 7, "at most 6"),
        ("model.discriminator_widths", [], "at least 1 widths"),
        ("model.discriminator_scales", 0, "at least 1"),
        ("model.feature_channels", 0, "at least 1"),
        ("model.scm_channels", -1, "must not be negative"),
        ("model.spade_kernel", 2, "must be odd"),
        ("model.temperature", 0, "must be above 0"),
        ("loss.cons", -0.1, "must not be negative"),
        ("loss.mcl_margin", 1.6, "must be below 1.5"),
        ("loss.mcl_scale", 0, "must be above 0"),
        ("loss.mcl_positions", -1, "must not be negative"),
        ("data.size", [64, 102], "102 is not a multiple of 4, such as 100 or 104"),
        ("data.size", [0, 64], "0 is less than 32 pixels a side"),
        ("data.load_scale", 0.9, "must be at least 1"),
        ("data.exemplar_self", 1.1, "must be between 0 and 1"),
        ("data.workers", -1, "must not be negative"),
        ("train.max_steps", 0, "must be at least 1"),
        ("train.batch_size", 0, "must be at least 1"),
        ("train.log_every", 0, "must be at least 1"),
        ("train.lr", 0, "must be above 0"),
        ("train.lr_discriminator", -1e-4, "must be above 0"),
        ("train.beta2", 1, "below 1"),
        ("train.ema", 1, "below 1"),
        ("train.gan_start", 1.5, "must be between 0 and 1"),
        ("train.seed", -1, "must not be negative"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(address: str, value: Any, cause: str) -> None:
    with pytest.raises(UsageError, match=f"^{address}: .*{cause}"):
        resolve("shapes", "paper", {address: value})


def test_whole_numbers_become_floats_and_lists_tuples() -> None:
    config = resolve("shapes", "paper", {"loss.mcl": 1, "data.size": [64, 96], "train.max_steps": None})
    assert (config.loss.mcl, type(config.loss.mcl)) == (1.0, float)
    assert config.data.size == (64, 96)
    assert config.train.max_steps is None


@pytest.mark.parametrize("preset", PRESETS)
def test_a_configuration_survives_json(preset: str) -> None:
    config = resolve("shapes", preset, {"loss.mcl": 1 / 3, "train.max_steps": 7})
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "error", "cause"),
    [
        ("{", ValueError, "Expecting"),
        ("[1]", ValueError, "not a JSON object with plugin and preset"),
        ('{"preset": "tiny"}', ValueError, "not a JSON object with plugin and preset"),
        ('{"plugin": "shapes", "preset": "tiny", "los": {"mcl": 1}}', UsageError, "no setting 'los.mcl'"),
        ('{"plugin": "shapes", "preset": "tiny", "loss": 1}', UsageError, "no setting 'loss'"),
        ('{"plugin": "shapes", "preset": "tiny", "loss": {"mcl": "a"}}', UsageError, "loss.mcl: must be of"),
    ],
)
def test_json_that_is_no_configuration_is_refused(text: str, error: type[Exception], cause: str) -> None:
    with pytest.raises(error, match=cause):
        Config.from_json(text)


def test_json_of_a_preset_that_is_gone_can_still_be_read() -> None:
    """A file of weights says all of its settings itself."""
    text = resolve("shapes", "tiny").to_json().replace('"tiny"', '"once"')
    assert Config.from_json(text).preset == "once"


def test_toml_has_sections_and_a_preset_on_top(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('preset = "tiny"\n[loss]\nmcl = 0.5 # größer\n[data]\nsize = [64, 96]\n', "utf-8")
    assert read_toml(file) == {"preset": "tiny", "loss.mcl": 0.5, "data.size": [64, 96]}


@pytest.mark.parametrize(
    ("content", "cause"),
    [(b"[loss\n", "not valid TOML"), (b"\xff", "not valid TOML"), (None, "No such file")],
)
def test_toml_that_cannot_be_read_names_the_file(content: bytes | None, cause: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=f"mine.toml: {cause}"):
        read_toml(file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loss.mcl=0.05", ("loss.mcl", 0.05)),
        ("loss.mcl = 1", ("loss.mcl", 1)),
        ("data.size=[64, 96]", ("data.size", [64, 96])),
        ("loss.mcl_symmetric=false", ("loss.mcl_symmetric", False)),
        ("loss.perc_layer=relu5_2", ("loss.perc_layer", "relu5_2")),
        ('loss.perc_layer="relu5_2"', ("loss.perc_layer", "relu5_2")),
        ("a.b=c=d", ("a.b", "c=d")),
    ],
)
def test_settings_are_toml_values_or_bare_words(text: str, expected: tuple[str, Any]) -> None:
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["loss.mcl", "mcl=1", "=1"])
def test_a_setting_without_address_or_value_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected section\.key=value"):
        parse_setting(text)


def test_sizes_are_one_side_or_height_by_width() -> None:
    assert parse_size("256") == (256, 256)
    assert parse_size("256x192") == parse_size("256X192") == (256, 192)
    for text in ("", "x", "256x192x3", "a", "25.6"):
        with pytest.raises(UsageError, match="expected S or HxW"):
            parse_size(text)


def test_every_field_is_checked_and_addressable() -> None:
    """Each field of each section can be given as "section.key" with its own default."""
    for name, section in SECTIONS.items():
        for item in dataclasses.fields(section):
            default = getattr(section(), item.name)
            config = resolve("shapes", "tiny", {f"{name}.{item.name}": default})
            assert getattr(getattr(config, name), item.name) == default
