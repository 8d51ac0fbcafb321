"""The data sets celebahq (edges), celebahq-parts (edges as published) and celebahq-mask, of CelebAMask-HQ."""

from mcltool_celebahq.plugin import CelebAHQMaskPlugin, CelebAHQPartsPlugin, CelebAHQPlugin

__all__ = ["CelebAHQMaskPlugin", "CelebAHQPartsPlugin", "CelebAHQPlugin"]
