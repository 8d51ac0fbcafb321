"""Settings of both plugins, and the real thing."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from faces import CLASS, EDGES, MASKS, ids
from mcltool_celebahq import CelebAHQPlugin

from mcltool.core.config import resolve


@pytest.mark.parametrize("plugin", [EDGES, MASKS])
@pytest.mark.parametrize("preset", ["tiny", "base", "paper"])
def test_the_defaults_are_settings_that_exist(plugin: CelebAHQPlugin, preset: str) -> None:
    config = resolve(plugin.name, preset, plugin.defaults)
    assert (config.train.epochs, config.data.flip, config.data.exemplar_self) == (60, True, 0.3)
    assert config.loss == resolve("shapes", preset).loss  # published: --config paper-*


def test_both_are_registered_under_their_names() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    for plugin in (EDGES, MASKS):
        module, _, name = project["entry-points"]["mcltool.datasets"][plugin.name].partition(":")
        assert getattr(import_module(module), name) is type(plugin)


def test_real_files_are_read(real_samples: Path) -> None:
    root = real_samples / "celebahq"
    train, val = ids(root)
    assert sorted([*train, *val], key=int) == ["2994", "14721", "29539", "29642"]
    assert train
    assert val
    for split in ("train", "val"):
        for drawn, labelled in zip(EDGES.index(root, split), MASKS.index(root, split), strict=True):
            photo, edges = EDGES.photo(drawn, 256), EDGES.condition(drawn, 256)
            assert photo.shape[0] >= 256
            assert edges.size == (256, 256)
            share = EDGES.render(edges)[..., 0].mean()
            assert 0.02 < share < 0.2
            raster = MASKS.condition(labelled, 256).raster
            assert raster is not None
            assert raster.shape == (512, 512)
            assert set(np.unique(raster)) >= {
                CLASS[part] for part in ("background", "skin", "nose", "hair", "neck")
            }
            # Left and right in the names are the viewer's or the face's, but always one on each side.
            eyes = [np.argwhere(raster == CLASS[part])[:, 1].mean() for part in ("l_eye", "r_eye")]
            assert abs(eyes[0] - eyes[1]) > 60
