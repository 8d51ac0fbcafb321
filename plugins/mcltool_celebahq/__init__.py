"""The data sets ``celebahq`` (edges) and ``celebahq-mask`` (face parts): portraits as CelebAMask-HQ has them."""

from mcltool_celebahq.plugin import CelebAHQMaskPlugin, CelebAHQPlugin

__all__ = ["CelebAHQMaskPlugin", "CelebAHQPlugin"]
