"""The procedural data set ``shapes``: turned, scaled, overlapping shapes with textures of their own."""

from mcltool_shapes.plugin import ShapesPlugin

__all__ = ["ShapesPlugin"]
