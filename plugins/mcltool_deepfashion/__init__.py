"""The data set ``deepfashion``: photos of clothed people, each with the joints of the person in it."""

from mcltool_deepfashion.plugin import DeepFashionFarPlugin, DeepFashionPlugin

__all__ = ["DeepFashionFarPlugin", "DeepFashionPlugin"]
