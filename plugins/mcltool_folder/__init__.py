"""The data set ``folder``: photos and conditions in a folder of one's own."""

from mcltool_folder.plugin import FolderPlugin

__all__ = ["FolderPlugin"]
