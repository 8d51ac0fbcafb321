"""Sound files of every kind that mcltool reads, to be mutated. Small: what is in them is not the point."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from mcltool_shapes import ShapesPlugin
from PIL import Image, features
from safetensors.numpy import save
from tiny_weights import SMALL

from mcltool.core.config import resolve
from mcltool.core.weights import FORMAT, WeightsHeader
from mcltool.data.pack_format import ATTRIBUTE
from mcltool.data.packing import PackOptions, pack
from mcltool.plugin.contract import Condition, ConditionSpec, DatasetPlugin, Sample
from mcltool.translate.manifest import Entry

from .mutate import Files


def encoded(picture: Any, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file, form, **options)
    return file.getvalue()


def pixels(height: int = 24, width: int = 20, channels: int = 3, kind: Any = np.uint8) -> np.ndarray:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape).astype(kind)


def photos() -> list[Files]:
    rgb, grey = pixels(), pixels(channels=0)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {
        "a.png": encoded(rgb, "PNG", exif=exif),
        "grey.png": encoded(grey, "PNG"),
        "deep.png": encoded(pixels(channels=0, kind=np.uint16), "PNG"),
        "alpha.png": encoded(pixels(channels=4), "PNG"),
        "palette.png": encoded(Image.fromarray(rgb).convert("P"), "PNG", transparency=3),
        "a.jpg": encoded(rgb, "JPEG", exif=exif),
        "progressive.jpg": encoded(rgb, "JPEG", progressive=True),
        "cmyk.jpg": encoded(Image.fromarray(rgb).convert("CMYK"), "JPEG"),
        "a.bmp": encoded(rgb, "BMP"),
        "a.tif": encoded(rgb, "TIFF"),
        "lzw.tif": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encoded(grey, "TIFF", compression="tiff_deflate"),
        "float.tif": encoded((grey / 255).astype(np.float32), "TIFF"),
        "moving.gif": encoded(rgb, "GIF", save_all=True, append_images=[Image.fromarray(rgb[::-1])]),
    }
    import cv2

    for suffix in ("png", "tif"):
        found[f"colours.{suffix}"] = cv2.imencode(f".{suffix}", pixels(kind=np.uint16))[1].tobytes()
    if features.check("webp"):
        found["a.webp"] = encoded(rgb, "WEBP")
        found["lossless.webp"] = encoded(pixels(channels=4), "WEBP", lossless=True)
    return [{name: data} for name, data in found.items()]


def labels(classes: int) -> list[Files]:
    values = (pixels(channels=0) % classes).astype(np.uint8)
    palette = Image.fromarray(values).convert("P")
    palette.putpalette(list(range(256)) * 3)
    return [
        {"a.png": encoded(values, "PNG")},
        {"palette.png": encoded(palette, "PNG")},
        {"deep.png": encoded(values.astype(np.uint16), "PNG")},
        {"bits.png": encoded(values > 1, "PNG")},
        {"a.bmp": encoded(values, "BMP")},
        {"a.tif": encoded(values, "TIFF")},
    ]


def drawings() -> list[Files]:
    lines = np.full((32, 32), 255, np.uint8)
    lines[8:24, 8] = lines[8, 8:24] = 0
    alpha = np.dstack([np.zeros((32, 32, 3), np.uint8), 255 - lines])
    return [{"a.png": encoded(lines, "PNG")}, {"alpha.png": encoded(alpha, "PNG")}]


def part_masks() -> list[Files]:
    masks = [np.where(pixels(channels=0) > level, 255, 0).astype(np.uint8) for level in (60, 128, 200)]
    names = ("02994_skin.png", "02994_hair.png", "02994_l_eye.png")
    return [{name: encoded(mask, "PNG") for name, mask in zip(names, masks, strict=True)}]


def joints(count: int) -> list[float]:
    """x, y, score of a person in pixels."""
    rows = np.random.default_rng(1).uniform(5, 90, (count, 3)).round(2)
    rows[:, 2] = 2
    return rows.ravel().tolist()


def openpose() -> list[Files]:
    people = [{"person_id": [-1], "pose_keypoints_2d": joints(count)} for count in (25, 18)]
    whole = {"version": 1.3, "people": people, "canvas_width": 96, "canvas_height": 100}
    return [
        {"a_keypoints.json": json.dumps(document).encode()} for document in (whole, {"people": people[:1]})
    ]


def coco() -> list[Files]:
    images = [{"id": n, "file_name": f"img/a{n}.jpg", "width": 96, "height": 100} for n in range(3)]
    annotations = [
        {"id": 10 + n, "image_id": n % 3, "category_id": 1, "keypoints": joints(17), "num_keypoints": 17}
        for n in range(4)
    ]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    return [{"all.json": json.dumps(document).encode()}]


def pose_files() -> list[Files]:
    """What other tools write: results, documents by image and in a list, rows a joint, PATN's table."""
    table = np.array(joints(18)).reshape(18, 3)
    people = [{"pose_keypoints_2d": joints(18)}]
    x, y = table[:, :2].astype(int).T.tolist()
    documents: list[Any] = [
        [{"image_id": f"{n}.jpg", "keypoints": joints(17), "score": 1.5} for n in range(2)],
        {"1.jpg": {"version": "AlphaPose v0.3", "bodies": [{"joints": joints(18)}]}},
        [{"people": people, "canvas_width": 96, "canvas_height": 100}] * 2,
        [{"keypoints": table[:17, :2].tolist(), "keypoint_scores": [0.5] * 17}],
        {"keypoints": [[*row, n] for n, row in enumerate(table.tolist())]},
        {"width": 96, "height": 100, "keypoints": table[:, :2].tolist()},
    ]
    lists: list[Files] = [{"a.json": json.dumps(document).encode()} for document in documents]
    return [*lists, {"a.csv": f"name:keypoints_y:keypoints_x\na.jpg: {y}: {x}\n".encode()}]


def text_poses() -> list[Files]:
    rows = np.column_stack([np.random.default_rng(2).uniform(0, 90, (18, 2)), np.ones(18), np.arange(18)])
    subset = " ".join([*map(str, range(18)), "30.5", "18"])
    candidate = "\n".join(" ".join(f"{v:.3f}" for v in row) for row in rows)
    return [{"a_candidate.txt": candidate.encode(), "a_subset.txt": subset.encode()}]


def garments() -> list[Files]:
    """A root of DeepFashion with lists; its photos are made by the reader, which looks at names alone."""
    one, two = b"WOMEN/Tees/id_1/01_1_front.jpg", b"WOMEN/Tees/id_2/02_1_front.jpg"
    return [{"train.txt": one + b"\nimg/" + two + b"\n", "val.txt": two}]


def face_lists() -> list[Files]:
    mapping = "idx orig_idx orig_file\n0 11 000012.jpg\n1 12 000013.jpg\n2 13 000014.jpg\n"
    partition = "000012.jpg 0\n000013.jpg 1\n000014.jpg 2\n"
    return [
        {"train.txt": b"0\n00001.jpg\n", "val.txt": b"CelebA-HQ-img/2.jpg\n"},
        {"list_eval_partition.txt": partition.encode(), "CelebA-HQ-to-CelebA-mapping.txt": mapping.encode()},
    ]


def settings() -> list[Files]:
    text = """preset = "tiny"
[model]
encoder_widths = [8, 16, 24]
temperature = 0.03
position = true
[loss]
mcl = 0.05
perc_layer = "relu4_2"
[data]
size = [64, 96]
[train]
max_steps = 20
precision = "fp32"
"""
    return [{"a.toml": text.encode()}]


def assignments() -> list[Files]:
    lines = (
        "loss.mcl=0.05",
        "data.size=[64, 96]",
        "train.precision=fp32",
        "model.encoder_widths = [8, 8, 8]",
    )
    return [{"a.toml": "\n".join(lines).encode()}]


def configs() -> list[Files]:
    return [{"config.json": resolve("shapes", preset).to_json().encode()} for preset in ("tiny", "paper")]


def header() -> WeightsHeader:
    return WeightsHeader(resolve("shapes", "tiny", SMALL), ShapesPlugin().spec, "1", step=7)


def weights() -> list[Files]:
    stored = {FORMAT: json.dumps(header().as_dict())}
    return [{"w.safetensors": save({"a": np.zeros((2, 3), np.float32)}, stored)}]


def models() -> list[Files]:
    """Weights that a model can be made of."""
    import torch
    from safetensors.torch import save as save_torch

    from mcltool.model.build import make_network

    torch.manual_seed(0)
    about = header()
    network = make_network(about.config.model, about.condition.channels, about.size)
    return [{"w.safetensors": save_torch(network.state_dict(), {FORMAT: json.dumps(about.as_dict())})}]


def entries(count: int = 4) -> bytes:
    made = (
        Entry(
            f"{n}.png", "style.jpg", f"{n}.png", "ok" if n else "failed", "" if n else "damaged", 12,
            "a" * 64, "b" * 16, "100@1700000000000000000 90@1700000000000000000", 1.7e9 + n,
        )
        for n in range(count)
    )  # fmt: skip
    return b"".join(entry.line() for entry in made)


def manifests() -> list[Files]:
    return [
        {"manifest.jsonl": entries()},
        {"manifest-1-of-2.jsonl": entries(2), "manifest-2-of-2.jsonl": entries()},
    ]


def jobs() -> list[Files]:
    kept = {
        "precision": "fp32", "size": "trained", "canvas": [96, 64], "format": "jpg", "quality": 90,
        "save": ["warp", "grid"], "batch_size": 4,
    }  # fmt: skip
    return [{"job.json": json.dumps({"weights": "a" * 64, "settings": kept}).encode()}]


def tables() -> list[Files]:
    rows = [["condition", "exemplar"], ["a.png", "x.jpg"], ["b.png", "y/z.png"], ["c", "x"]]
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return [{"pairs.csv": file.getvalue().encode()}]


def lists() -> list[Files]:
    return [{"pairs.txt": b'a.jpg,b.jpg,c.jpg\nimg/b.jpg,a.jpg\n"c, d",a\n'}]


def runs() -> list[Files]:
    state = {
        "format_version": 1, "step": 20, "scores": {"val_l1_warp": 0.2}, "trainer": {"scale": 1.0},
        "digests": {"weights.safetensors": "0" * 64, "training.safetensors": "0" * 64},
    }  # fmt: skip
    rows = [{"step": n, "loss_mcl": 0.5, "images_per_second": 3.5, "seconds": 2.0} for n in (10, 20)]
    return [
        {
            "config.json": configs()[0]["config.json"],
            "metrics.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in rows),
            "checkpoints/step-000020/state.json": json.dumps(state).encode(),
        }
    ]


def scores() -> list[Files]:
    from mcltool.evaluate.metrics import Score
    from mcltool.evaluate.scores import Scores

    made = Scores(
        {"out": "out", "size": "32x32"}, {"psnr": Score(20.0, 3, 19.0, 21.0), "ssim": Score(None, 3)},
        {"fid": "too few"}, ["a warning"], {"a.png": {"psnr": 20.5}, "b.png": {"psnr": 19.0}},
    )  # fmt: skip
    return [{"scores.json": made.to_json().encode()}]


class Tiny(DatasetPlugin):
    """Labels, drawings or points, drawn from the sample's number."""

    name, version = "shapes", "1"

    def __init__(self, kind: str = "labels") -> None:
        self.kind = kind

    @property
    def spec(self) -> ConditionSpec:
        if self.kind == "labels":
            return ShapesPlugin().spec
        return ConditionSpec("channels", ("a", "b"), ((1, 2, 3), (4, 5, 6)))

    def index(self, root: Path | None, split: str) -> list[Sample]:
        return [Sample(str(n), group=str(n // 2)) for n in range(3)]

    def photo(self, sample: Sample, short_side: int) -> np.ndarray:
        return pixels(16, 16 + 16 * (int(sample.id) == 2))

    def condition(self, sample: Sample, short_side: int) -> Condition:
        size = self.photo(sample, 0).shape[:2]
        if self.kind == "points":
            return Condition(size, points=np.ones((3, 2), np.float32), mirror=((0, 1),))
        return Condition(size, np.zeros(size, np.uint8), smooth=self.kind == "drawing")

    def read_condition(self, files: Any) -> Condition:
        raise NotImplementedError

    def render(self, condition: Condition) -> np.ndarray:
        if self.kind == "labels":
            return super().render(condition)
        return np.zeros((*condition.size, 2), np.float32)


def packs() -> list[Files]:
    found = []
    with tempfile.TemporaryDirectory() as name:
        for kind, compression in (("labels", "none"), ("points", "gzip"), ("labels", "lzf")):
            plugin, out = Tiny(kind), Path(name, "a.h5")
            list(
                pack(plugin, {"train": plugin.index(None, "train")}, out, PackOptions((16, 16), compression))
            )
            found.append({"a.h5": out.read_bytes()})
            found.append({"a.h5": _without_checksums(out, Path(name, "b.h5"))})
    return found


def _without_checksums(path: Path, copy: Path) -> bytes:
    """The same in HDF5's oldest file format, in which a changed byte of the structure is not found at once."""
    with h5py.File(path) as source, h5py.File(copy, "w", libver="earliest") as target:
        target.attrs[ATTRIBUTE] = source.attrs[ATTRIBUTE]

        def put(name: str, found: Any) -> None:
            if isinstance(found, h5py.Dataset):
                options = {"chunks": found.chunks, "compression": found.compression}
                target.create_dataset(name, data=found[...], **options)
            else:
                target.create_group(name).attrs.update(found.attrs)

        source.visititems(put)
    return copy.read_bytes()


def names() -> Iterator[str]:
    """Of conditions as other people's files may give them."""
    yield from (
        "a",
        "a/b",
        "..",
        "../a",
        "a/../../b",
        "/a",
        "a//b",
        ".",
        "",
        "a/.",
        ".mcltool/all/x",
        "\0",
        "a\nb",
    )
    yield from ("\ud800", "\udcff", "\u202egnp", "\uff0e\uff0e/a", "..\\a", "C:\\a", "C:a", "e\u0301", "\xe9")
    yield from ("x" * 300, "a\u2215b", "CON", "a ", "a.", "-rf", "~", "$HOME", "%2e%2e/a", "manifest.jsonl")
