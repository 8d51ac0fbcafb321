"""The data sets ``celebahq`` (edges) and ``celebahq-mask`` (parts of faces), of CelebAMask-HQ."""

from mcltool_celebahq.plugin import CelebAHQMaskPlugin, CelebAHQPlugin

__all__ = ["CelebAHQMaskPlugin", "CelebAHQPlugin"]
