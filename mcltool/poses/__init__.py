"""Poses of people: files of every usual format, and how a network sees them. For plugins; see docs/plugins.md."""

from mcltool.poses.documents import image_key, is_collection, open_poses
from mcltool.poses.plugin import PosePlugin, poses_in
from mcltool.poses.skeleton import draw_points_far

__all__ = ["PosePlugin", "draw_points_far", "image_key", "is_collection", "open_poses", "poses_in"]
