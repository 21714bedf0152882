"""Rendered people: a picture from a seed, and a data set in MPII's layout that needs no download."""

from pose_regression.data.synthetic.dataset import FOLDER, RELEASE_FILE, SIZES, TRAIN, ensure, folder_of, write
from pose_regression.data.synthetic.picture import Person, render

__all__ = ["FOLDER", "RELEASE_FILE", "SIZES", "TRAIN", "Person", "ensure", "folder_of", "render", "write"]
