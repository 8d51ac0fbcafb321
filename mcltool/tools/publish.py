"""``mcltool publish``: weights as a folder in the form that model hubs expect.

DIR/model.safetensors   the weights, as mcltool loads them
    config.json         the configuration of the run and the condition, in JSON
    README.md           the model card (card.md.j2)
    samples.png         pictures, where there are some
    SHA256SUMS          of all but the card, for ``sha256sum -c``
"""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from mcltool.core.errors import DataError, UsageError
from mcltool.core.files import digest, replace
from mcltool.core.hub import CHECKSUMS, WEIGHTS
from mcltool.core.pictures import PAPER, Picture, save_png
from mcltool.core.weights import WeightsHeader, copy_weights, read_header, summary
from mcltool.evaluate.metrics import number_of
from mcltool.evaluate.scores import Scores, interval_text, number_text
from mcltool.train.objective import FEATURE_TERMS, TERMS
from mcltool.translate.job import plugin_of

CONFIG, CARD, SAMPLES = "config.json", "README.md", "samples.png"
MOST_SAMPLES = 6

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Card:
    """What a model card says. scores: of ``mcltool evaluate``, where it was run on these weights. samples: whether
    there is SAMPLES. repository: on the hub, ORG/NAME."""

    title: str
    header: WeightsHeader
    license: str
    sha256: str
    parameters: int
    scores: Scores | None = None
    samples: bool = False
    repository: str = ""

    def render(self) -> str:
        """The card in Markdown, with its front matter in YAML."""
        loader = PackageLoader("mcltool", "tools")
        environment = Environment(
            loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        header, condition = self.header, self.header.condition
        front = yaml.safe_dump(self.front_matter(), sort_keys=False, allow_unicode=True)
        unused = FEATURE_TERMS if header.config.train.perceptual == "none" else ()
        terms = [name for name in TERMS if name not in unused]
        losses = {name: getattr(header.config.loss, name) for name in terms}
        return environment.get_template("card.md.j2").render(
            card=self,
            front=front,
            header=header,
            condition=condition,
            classes=list(zip(condition.names, map(_hex, condition.palette), strict=True)),
            size="x".join(map(str, header.size)),
            train=header.config.train,
            losses={name: weight for name, weight in losses.items() if weight},
            scores=self.rows(),
        )

    def front_matter(self) -> dict[str, Any]:
        """The metadata that hubs read."""
        header = self.header
        found: dict[str, Any] = {
            "library_name": "mcltool",
            "pipeline_tag": "image-to-image",
            "license": self.license,
            "datasets": [header.plugin],
            "tags": ["mcltool", "mcl-net", "exemplar-guided", "image-translation", header.condition.kind],
        }
        metrics = [
            {"type": key, "name": number_of(key).title, "value": score.value}
            for key, score in (self.scores.scores if self.scores else {}).items()
            if score.value is not None
        ]
        if metrics:
            dataset = {"type": header.plugin, "name": f"{header.plugin}, held-out split", "split": "val"}
            result = {"task": {"type": "image-to-image"}, "dataset": dataset, "metrics": metrics}
            found["model-index"] = [{"name": self.title, "results": [result]}]
        return found

    def gaps(self) -> list[tuple[str, str]]:
        """What the card cannot say, and how it could."""
        found = [("license: unknown", "--license ID")] if self.license == "unknown" else []
        evaluate = ("not evaluated", "mcltool evaluate --weights RUN, then publish again")
        return found if self.scores else [*found, evaluate]

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Title, which way is better, value and interval of each score."""
        scores = self.scores.scores if self.scores else {}
        return [
            (number_of(key).title, number_of(key).better, number_text(score.value), interval_text(score))
            for key, score in scores.items()
        ]


def publish(
    weights: Path,
    out: Path,
    license: str = "unknown",
    samples: Path | None = None,
    repository: str = "",
    half: bool = False,
) -> Card:
    """Write the folder ``out``, whole or not at all; returns its card.

    weights: a file that ``find_weights`` gave. license: of the weights, by its SPDX name. samples: a folder with
    conditions/ and exemplars/, the first few of which are translated for the card. repository: ORG/NAME.
    half: store the weights as 16-bit floats.
    Raises UsageError where ``out`` exists, or the weights or samples cannot be used.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: already exists; give another folder, or remove it first")
    header = read_header(weights)
    scores = _scores_of(weights)
    sheet = sample_sheet(weights, samples) if samples else None
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        copy_weights(weights, folder / WEIGHTS, half)
        document = {"architectures": ["MCLNet"], "model_type": "mcl-net", **header.as_dict()}
        (folder / CONFIG).write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        if sheet is not None:
            save_png(folder / SAMPLES, sheet)
        sums = {path.name: digest(path) for path in sorted(folder.iterdir())}
        (folder / CHECKSUMS).write_text(
            "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()), "utf-8"
        )
        title = repository.partition("/")[2] or out.resolve().name
        parameters = summary(folder / WEIGHTS)["parameters"]
        card = Card(title, header, license, sums[WEIGHTS], parameters, scores, sheet is not None, repository)
        (folder / CARD).write_text(card.render(), "utf-8")
        replace(folder, out)
    return card


def sample_sheet(weights: Path, samples: Path) -> Picture:
    """Condition, exemplar, warped exemplar and output of the first conditions in ``samples``, one below the other.

    Raises UsageError where there are none, DataError where one cannot be translated.
    """
    from mcltool import IMAGE_SUFFIXES, translate_images, walk_files

    plugin = plugin_of(weights)
    conditions = [found.files[0] for found in islice(plugin.conditions(samples / "conditions"), MOST_SAMPLES)]
    photos = list(walk_files(samples / "exemplars", IMAGE_SUFFIXES))
    if not (conditions and photos):
        raise UsageError(
            f"--samples {samples}: expected folders conditions/ and exemplars/ with files in both"
        )
    rows = []
    for made in translate_images(conditions, cycle(photos), weights, save=["grid"]):
        if made.image is None:
            raise DataError(made.cause)
        rows.append(made.extras["grid"])
    sheet = np.full((sum(len(row) for row in rows), max(row.shape[1] for row in rows), 3), PAPER, np.uint8)
    top = 0
    for row in rows:
        sheet[top : top + len(row), : row.shape[1]] = row
        top += len(row)
    return sheet


def _scores_of(weights: Path) -> Scores | None:
    """What ``mcltool evaluate`` wrote beside ``weights``, if it was of these."""
    folder = weights.parent / "evaluation"
    if not (folder / "scores.json").is_file():
        return None
    scores = Scores.read(folder)
    if scores.about.get("weights_sha256") == digest(weights):
        return scores
    log.warning("%s: of other weights, and left out; run mcltool evaluate --weights %s", folder, weights)
    return None


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
