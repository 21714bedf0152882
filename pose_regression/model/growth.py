"""A larger network that begins as a smaller one: wider with the same answers, deeper with the last block's weights.

Net2Net (Chen, Goodfellow, Shlens, ICLR 2016): each channel is copied, and what reads it is divided among the copies,
by random parts, so that copies learn to differ. Blocks beyond the smaller network's last begin as copies of that one.
"""

import re
from collections.abc import Mapping

import numpy as np

from pose_regression.errors import PoseError

Arrays = Mapping[str, np.ndarray]

CONCATENATED = {
    "conv_5a": ("conv_4", "conv_3"),
    "conv_5b": ("conv_4", "conv_3"),
    "conv_9": ("conv_6a", "conv_8b"),
    "separable_1": ("conv_9", "conv_6a", "conv_8b"),
    "separable_1_shortcut": ("conv_9", "conv_6a", "conv_8b"),
}
"""Layers of the stem that read several others' channels, in their order; every other layer reads one's."""


def grown(source: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The weights of a network of `PredictionBlocks` that begins as another.

    Args:
        source: the smaller network's weights, by name (`named_weights`).
        shapes: of the larger network's weights. The number of maps (joints, context) must be the same.

    Returns:
        By name. With the same number of blocks, the larger network gives the smaller one's answers.

    Raises:
        PoseError: fewer channels than the smaller network's, or a layer that it does not have.
    """
    random, weights = np.random.default_rng(0), {}
    for name, shape in shapes.items():
        origin = _origin(name, source)
        if origin not in source or len(source[origin].shape) != len(shape):
            raise PoseError(f"it has no {name} of {len(shape)} dimensions.")
        layer, kind = name.split("/")[-2:]
        array = source[origin]
        if kind != "kernel" and kind != "pointwise_kernel":  # one value, or one filter, for each channel
            axis = 2 if kind == "depthwise_kernel" else 0
            weights[name] = np.take(array, _copies(layer, array.shape[axis], shape[axis], source, shapes), axis)
            continue
        read = _copies(layer, array.shape[2], shape[2], source, shapes)
        made = array[:, :, read][..., _cycled(array.shape[3], shape[3], name)]
        weights[name] = made * _parts(read, shape[3], random)
    return weights


def _origin(name: str, source: Arrays) -> str:
    """The name of the weight that `name` begins as: of the same block, or of the last that has it."""
    found = re.match(r"(block_[ab]_)(\d+)(/.*)", name)
    if not found:
        return name
    kind, number, rest = found.groups()
    held = [k for k in range(1, int(number) + 1) if f"{kind}{k}{rest}" in source]
    return f"{kind}{max(held, default=number)}{rest}"


def _copies(layer: str, old: int, new: int, source: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> np.ndarray:
    """For each channel that a layer of the larger network reads, the one of the smaller that it copies."""
    if layer not in CONCATENATED:
        return _cycled(old, new, layer)
    copies, first = [], 0
    for other in CONCATENATED[layer]:
        count = source[f"stem/{other}/kernel"].shape[-1]
        copies.append(first + _cycled(count, shapes[f"stem/{other}/kernel"][-1], other))
        first += count
    return np.concatenate(copies)


def _cycled(old: int, new: int, name: str) -> np.ndarray:
    """0 .. old - 1, again and again, `new` in all."""
    if new < old:
        raise PoseError(f"{name} has {old} channels, more than the {new} of the new network.")
    return np.arange(new) % old


def _parts(read: np.ndarray, written: int, random: np.random.Generator) -> np.ndarray:
    """(read, written) factors which, over the copies of one channel, sum to 1; all 1 where nothing is copied."""
    parts = random.uniform(0.1, 1.0, (len(read), written))
    total = np.zeros((read.max() + 1, written))
    np.add.at(total, read, parts)
    return (parts / total[read]).astype(np.float32)
