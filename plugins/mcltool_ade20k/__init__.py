"""The data set ``ade20k``: ADE20K scenes of the scene parsing benchmark, with label maps of 150 classes."""

from mcltool_ade20k.plugin import Ade20kPlugin

__all__ = ["Ade20kPlugin"]
