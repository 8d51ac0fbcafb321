"""The model on its device: batches of prepared conditions in, pictures out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcltool.core.device import autocast, frozen, pick_device, pick_precision
from mcltool.core.pixels import to_bytes, to_unit
from mcltool.core.weights import load_model
from mcltool.model.correspondence import STRIDE, confidence, mixture_features
from mcltool.model.network import EncodedExemplar, EncodedMixture
from mcltool.plugin.contract import DatasetPlugin
from mcltool.translate.exemplars import Weights
from mcltool.translate.plan import Pictures
from mcltool.translate.reader import OutputSize, network_size, short_side_of

CPU_PIXELS = 2**17
"""Pixels a batch on a CPU: larger ones are not faster there."""
GPU_SHARE = 0.6
"""Share of a GPU's free memory that the largest batch may take."""
LARGEST_BATCH = 64


Style = EncodedExemplar | tuple[Sequence[EncodedExemplar], Weights]
"""What a condition is translated with: an exemplar, or several with their weights (E, h, w)."""


class Translator:
    """Translates batches with the model of ``weights``.

    plugin: ``plugin_of(weights)``. precision, device: as --precision and --device. short_side: in pixels, that
    the model was trained at. Raises UsageError where the weights or the device cannot be used.
    """

    def __init__(
        self, weights: Path, plugin: DatasetPlugin, precision: str = "auto", device: str | None = None
    ) -> None:
        self.plugin = plugin
        self.device = pick_device(device or _gpu_of_rank())
        self.precision = pick_precision(precision, self.device)
        model, header = load_model(weights)
        self.model = frozen(model, self.device, self.precision)
        self.short_side = min(header.size)

    def encode(self, photos: Sequence[NDArray[np.uint8]]) -> list[EncodedExemplar]:
        """Photos (H, W, 3) of one size, as ``prepare_photo`` gives them, on the device."""
        pixels = self._to_device(np.stack(photos)).permute(0, 3, 1, 2)
        with torch.inference_mode(), autocast(self.device, self.precision):
            return self.model.encode_exemplars(to_unit(pixels))

    def translate(
        self,
        conditions: Sequence[NDArray[Any]],
        styles: Sequence[Style],
        kinds: Sequence[str] = (),
    ) -> Pictures:
        """The pictures (B, ...) of conditions of one size, as ``prepare_condition`` gives them, each in its style.

        kinds: what is wanted beside them, as in Settings.save. Raises RuntimeError where memory does not suffice; see
        ``device.is_out_of_memory``.
        """
        with torch.inference_mode(), autocast(self.device, self.precision):
            X = self._to_device(np.stack(conditions))
            exemplars = [self._mixture(style) for style in styles]
            made = self.model.translate(X, exemplars)
            found = {"image": _picture(made.image)}
            if {"warp", "grid"} & {*kinds}:
                found["warp"] = _picture(made.warped)
            if "confidence" in kinds:
                found["confidence"] = self._confidence(X, exemplars)
        return self._to_host(found)

    def pooled_condition(self, condition: NDArray[Any]) -> NDArray[np.float32]:
        """(D,) unit vector of a condition's mean features, to compare with ``pooled_photo``."""
        with torch.inference_mode(), autocast(self.device, self.precision):
            return _pooled(self.model.condition_features(self._to_device(condition[None])))

    def pooled_photo(self, photo: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(D,) unit vector of a photo's mean features."""
        pixels = self._to_device(photo[None]).permute(0, 3, 1, 2)
        with torch.inference_mode(), autocast(self.device, self.precision):
            return _pooled(self.model.photo_features(to_unit(pixels)))

    def fitting_batch_size(self, size: OutputSize) -> int:
        """How many square conditions of this output size make a good batch on this device.

        On a GPU batches are doubled until the next would take more than GPU_SHARE of the free memory.
        """
        short_side = short_side_of(size, self.short_side)
        if self.device.type != "cuda":
            return max(1, min(8, CPU_PIXELS // short_side**2))
        free = torch.cuda.mem_get_info(self.device)[0]
        side, _ = network_size((short_side, short_side), short_side)
        batch, shape = 1, self._blank(side)
        exemplar = self.encode([np.zeros((side, side, 3), np.uint8)])
        while batch < LARGEST_BATCH:
            torch.cuda.reset_peak_memory_stats(self.device)
            try:
                self.translate([shape] * batch, exemplar * batch)()
            except torch.OutOfMemoryError:
                batch = max(1, batch // 2)
                break
            if 2 * torch.cuda.max_memory_allocated(self.device) > GPU_SHARE * free:
                break
            batch *= 2
        torch.cuda.empty_cache()
        return batch

    def _blank(self, side: int) -> NDArray[Any]:
        if self.plugin.spec.kind == "labels":
            return np.zeros((side, side), np.uint8)
        return np.zeros((self.plugin.spec.channels, side, side), np.float32)

    def _mixture(self, style: Style) -> EncodedExemplar | EncodedMixture:
        if isinstance(style, EncodedExemplar):
            return style
        several, weights = style
        return EncodedMixture(several, self._to_device(weights).flatten(1))

    def _confidence(self, X: Tensor, exemplars: Sequence[EncodedExemplar | EncodedMixture]) -> Tensor:
        grid = (X.shape[-2] // STRIDE, X.shape[-1] // STRIDE)
        tau = self.model.temperature
        u_BND = self.model.condition_features(X)
        maps = []
        for u, exemplar in zip(u_BND, exemplars, strict=True):
            if isinstance(exemplar, EncodedMixture):
                v = [one.v for one in exemplar.exemplars]
                q, k = mixture_features(u, v, exemplar.weights_EN, tau)
            else:
                q, k = u, exemplar.v
            maps.append(confidence(q, k, tau).view(grid))
        return torch.stack(maps)

    def _to_device(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _to_host(self, found: dict[str, Tensor]) -> Pictures:
        """A GPU makes the copies on its way: the next batch need not wait for them."""
        if self.device.type != "cuda":
            arrays = {kind: tensor.cpu().numpy() for kind, tensor in found.items()}
            return lambda: arrays
        copies = {
            kind: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(
                tensor, non_blocking=True
            )
            for kind, tensor in found.items()
        }
        arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrival.record()

        def arrived() -> dict[str, NDArray[Any]]:
            arrival.synchronize()
            return {kind: copy.numpy() for kind, copy in copies.items()}

        return arrived


def _picture(values_B3HW: Tensor) -> Tensor:
    """(B, H, W, 3) uint8."""
    return to_bytes(values_B3HW).permute(0, 2, 3, 1).contiguous()


def _pooled(features_1ND: Tensor) -> NDArray[np.float32]:
    return torch.nn.functional.normalize(features_1ND[0].float().mean(0), dim=0).cpu().numpy()


def _gpu_of_rank() -> str | None:
    """Under torchrun each rank of a machine has a GPU of its own."""
    count = torch.cuda.device_count()
    return f"cuda:{int(os.environ['LOCAL_RANK']) % count}" if count and "LOCAL_RANK" in os.environ else None
