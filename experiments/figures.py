"""Figures 1, 4 and 5 of the paper from a trained model, each as vector PDF and as PNG.

    python -m experiments.figures --weights small --images photo.jpg other.jpg --output figures
    python -m experiments.figures --weights runs/lsp/best.weights.h5 --images datasets/lsp/images/im10*.jpg \\
        --output figures

Cost: seconds on a CPU. Writes, for all images together, `figure_1` (input; part maps, a colour per joint; the pose in
these colours) and `figure_5` (the pose of the part maps alone, each context map's answers with their probabilities,
the aggregated pose), and for every image `figure_4_NAME` (eight part maps before and after the softmax).

Every picture shows the crop that the network sees: the whole image, or the square about a `--box`. Joints that the
network has not learned are left out: LSP annotates neither pelvis nor thorax.
Colours run from yellow to red for the person's right, from cyan to violet for the left.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from experiments.command import run
from pose_regression.errors import PoseError
from pose_regression.files import atomic_path
from pose_regression.geometry import BOX_MARGIN, window_of_box
from pose_regression.inference.bulk import find_inputs
from pose_regression.inference.photographs import load_upright
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.regression import ContextAggregation, JointProbability, SoftArgmax, coordinate_ramp
from pose_regression.skeleton import LSP, Skeleton, reorder
from pose_regression.visualize import heatmaps_to_rgb, joint_colors, softmax_map
from pose_regression.wording import quantity

WIDTH = 7.2
"""Inches: the text of a page in two columns."""

FONT = 7
"""Points, of everything: what small print can bear."""

FIGURE_4 = ("head", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_hip", "left_knee", "left_ankle")
"""The part maps shown before and after the softmax: every kind of joint once."""

INK = "#101018"


@dataclass(frozen=True, eq=False)
class Answers:
    """What one crop's heat maps say, joints in the order of `skeleton`; coordinates crop-normalised."""

    name: str
    photo: np.ndarray
    """(H, W, 3) uint8, the whole upright image."""
    extent: tuple[float, float, float, float]
    """Where the photo's left, right, bottom and top edges lie, crop-normalised."""
    skeleton: Skeleton
    grid: str
    """Of the coordinates, `regression.coordinate_ramp`."""
    alpha: float
    heatmaps: np.ndarray
    """(H, W, J) logits of the part maps."""
    part_pose: np.ndarray
    """(J, 2), of the part maps alone."""
    part_probability: np.ndarray
    """(J,) in [0, 1]."""
    context_pose: np.ndarray
    """(N_c, J, 2), of each context map."""
    context_probability: np.ndarray
    """(N_c, J) in [0, 1]."""
    pose: np.ndarray
    """(J, 2), aggregated: the network's answer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, metavar="FILE", help="weight file, or the name of shipped weights")
    parser.add_argument("--images", nargs="+", required=True, metavar="PATH", help="image files or folders")
    parser.add_argument("--count", type=int, default=4, metavar="N", help="show the first N images (default: 4)")
    parser.add_argument(
        "--box", type=float, nargs=4, action="append", metavar=("X0", "Y0", "X1", "Y1"),
        help="person in pixels, once for each image, in their order (default: the whole image)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for the pictures, .png")
    options = parser.parse_args()

    paths = [Path(str(path)) for path in find_inputs(options.images).paths[: max(options.count, 0)]]
    if not paths:
        raise PoseError(f"--count must be at least 1. Received: {options.count}")
    if len({path.stem for path in paths}) < len(paths):
        raise PoseError(f"--images must have different names, for figure_4_NAME: {', '.join(map(str, paths))}.")
    boxes = options.box or [None] * len(paths)
    if len(boxes) != len(paths):
        raise PoseError(f"--box must be given once for each image, {len(paths)} times, or not at all: {len(boxes)}.")
    predictor = PosePredictor(options.weights, runtime="keras")  # which alone shows its maps
    people = [learned(inspect(predictor, path, box)) for path, box in zip(paths, boxes, strict=True)]

    written = save(figure_1(people), options.output / "figure_1")
    for person in people:
        written += save(figure_4(person), options.output / f"figure_4_{person.name}")
    if len(people[0].context_pose):
        written += save(figure_5(people), options.output / "figure_5")
    else:
        print("No figure 5: this network has no context maps.")
    print(f"{quantity(len(people), 'image')}, {quantity(len(written), 'file')} in {options.output}: "
          f"{', '.join(p.name for p in written)}")  # fmt: skip


def inspect(predictor: PosePredictor, path: Path, box: Sequence[float] | None = None) -> Answers:
    """Send one image's crop through the network, and each of its maps through the layers of the regression stage."""
    pose, seen = predictor.inspect(path, box)
    config = predictor.model.get_config()
    photo = load_upright(path)
    center, length = window_of_box(pose.box.astype(float), margin=1.0 if box is None else BOX_MARGIN)
    side, (left, top) = float(length), (center - length / 2).tolist()
    extent = (-left / side, (photo.shape[1] - left) / side, (photo.shape[0] - top) / side, -top / side)
    return answers(
        seen["heatmaps"], seen.get("context_heatmaps"), name=path.stem, photo=photo, extent=extent,
        skeleton=predictor.skeleton, grid=config["grid"], alpha=config["alpha"],
    )  # fmt: skip


def answers(
    heatmaps: np.ndarray,
    context_heatmaps: np.ndarray | None,
    *,
    name: str,
    photo: np.ndarray,
    extent: tuple[float, float, float, float],
    skeleton: Skeleton,
    grid: str,
    alpha: float,
) -> Answers:
    """The regression stage (section 3.3) step by step, by the network's own layers.

    From (H, W, J) logits, and of the context maps (H, W, J·N_c), joint-major; None without context.
    """
    locate, probability = SoftArgmax(grid=grid), JointProbability()
    part_pose = locate(heatmaps[None])
    result = part_pose
    context_pose, certainty = np.empty((0, len(skeleton), 2)), np.empty((0, len(skeleton)))
    if context_heatmaps is not None:
        count = context_heatmaps.shape[2] // len(skeleton)
        votes, weights = SoftArgmax(grid=grid)(context_heatmaps[None]), probability(context_heatmaps[None])
        result = ContextAggregation(alpha=alpha)(part_pose, votes, weights)
        context_pose = np.asarray(votes).reshape(len(skeleton), count, 2).swapaxes(0, 1)
        certainty = np.asarray(weights).reshape(len(skeleton), count).T
    return Answers(
        name, photo, extent, skeleton, grid, alpha, heatmaps, np.asarray(part_pose)[0],
        np.asarray(probability(heatmaps[None]))[0, :, 0], context_pose, certainty, np.asarray(result)[0],
    )  # fmt: skip


def learned(person: Answers) -> Answers:
    """The same answers for the joints that the network has learned alone; LSP's with the limbs of its own skeleton."""
    names = tuple(name for name, known in zip(person.skeleton.names, person.skeleton.known, strict=True) if known)
    limbs = tuple(limb for limb in person.skeleton.limbs if {*limb} <= {*names})
    skeleton = LSP if {*names} == {*LSP.names} else Skeleton(names, limbs)

    def chosen(values: np.ndarray, axis: int) -> np.ndarray:
        return reorder(values, person.skeleton, skeleton, axis=axis)

    return replace(
        person,
        skeleton=skeleton,
        heatmaps=chosen(person.heatmaps, -1),
        part_pose=chosen(person.part_pose, -2),
        part_probability=chosen(person.part_probability, -1),
        context_pose=chosen(person.context_pose, -2),
        context_probability=chosen(person.context_probability, -1),
        pose=chosen(person.pose, -2),
    )


def figure_1(people: Sequence[Answers]) -> Figure:
    """A row for each person: input, part maps as one picture, pose; below, the colours' names."""
    side = 1.65
    figure = _sheet(3 * side, len(people) * (side - 0.03) + 0.45)
    axes = figure.subplots(len(people), 3, squeeze=False)
    for row, person in zip(axes, people, strict=True):
        _photo(row[0], person)
        row[1].set_facecolor("black")
        row[1].imshow(
            heatmaps_to_rgb(softmax_map(person.heatmaps), person.skeleton),
            extent=_extent(person), interpolation="bilinear",
        )  # fmt: skip
        _photo(row[2], person)
        draw_pose(row[2], person.pose, person.skeleton, probability=person.part_probability)
        _frame(row[1])
    _letters(axes[-1], ("input", "part maps", "pose"))
    _legend(figure, people[0].skeleton)
    return figure


def figure_4(person: Answers) -> Figure:
    """Eight part maps as logits, all in one scale, and after the softmax, each up to its peak; with the coordinates."""
    shown = [name for name in FIGURE_4 if name in person.skeleton.names] or list(person.skeleton.names[:8])
    indices = [person.skeleton.index(name) for name in shown]
    before, after = person.heatmaps[..., indices], softmax_map(person.heatmaps)[..., indices]
    low, high = float(before.min()), float(before.max())
    side = (WIDTH - 0.9) / (len(shown) + 2)
    figure = _sheet(WIDTH, 2 * side + 0.5)
    grid = figure.add_gridspec(2, len(shown) + 2)
    colors = joint_colors(person.skeleton)[indices] / 255
    picture = figure.add_subplot(grid[:, :2])
    _photo(picture, person)
    picture.set_title("input, and where\nthese maps point", fontsize=FONT, pad=3)
    maps = []
    for column, (joint, name) in enumerate(zip(indices, shown, strict=True)):
        top, bottom = (figure.add_subplot(grid[row, column + 2]) for row in (0, 1))
        logits = top.imshow(before[..., column], extent=_extent(person), vmin=low, vmax=high, cmap="viridis")
        bottom.imshow(after[..., column], extent=_extent(person), vmin=0, cmap="inferno")
        top.set_title(_plain(name).replace(" ", "\n"), fontsize=FONT, pad=3)
        bottom.set_xlabel(f"peak {after[..., column].max():.2f}", fontsize=FONT - 1, labelpad=2)
        for axis in (picture, bottom):
            _ring(axis, person.part_pose[joint], colors[column])
        for axis in (top, bottom):
            _frame(axis)
        maps += [top, bottom]
    maps[0].set_ylabel("before", fontsize=FONT)
    maps[1].set_ylabel("after softmax", fontsize=FONT)
    bar = figure.colorbar(logits, ax=maps, location="right", fraction=0.03, pad=0.01, aspect=25)
    bar.set_label("logit, before", fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT - 1)
    return figure


def figure_5(people: Sequence[Answers]) -> Figure:
    """Two rows for each person: the poses; below, the probability of each context map's answer."""
    count = len(people[0].context_pose)
    side = WIDTH / (count + 3)
    figure = _sheet(WIDTH, len(people) * (side + 0.95) + 0.25)
    grid = figure.add_gridspec(2 * len(people), count + 3, height_ratios=[side, 0.75] * len(people))
    titles = ["input", "part maps alone", *(f"context map {i + 1}" for i in range(count))]
    titles.append(f"aggregated, α = {people[0].alpha:g}")
    for row, person in enumerate(people):
        axes = [figure.add_subplot(grid[2 * row, column]) for column in range(count + 3)]
        for axis in axes:
            _photo(axis, person)
        draw_pose(axes[1], person.part_pose, person.skeleton)
        for axis, pose, probability in zip(axes[2:], person.context_pose, person.context_probability, strict=False):
            draw_pose(axis, pose, person.skeleton, probability=probability)
        draw_pose(axes[-1], person.pose, person.skeleton)
        if row == 0:
            for axis, title, letter in zip(axes, titles, "abcdefghij", strict=False):
                axis.set_title(f"({letter}) {title}", fontsize=FONT, pad=3)
        _bars(figure.add_subplot(grid[2 * row + 1, :]), person)
    return figure


def draw_pose(axis: Axes, pose: np.ndarray, skeleton: Skeleton, *, probability: np.ndarray | None = None) -> None:
    """Draw a pose in lines and dots, each half of a limb in the colour of its joint's part map.

    Args:
        axis: whose coordinates are the crop's, x right, y down.
        pose: (J, 2) crop-normalised.
        skeleton: its joints and limbs.
        probability: (J,) in [0, 1], what is improbable fades; None draws everything solid.
    """
    certainty = np.ones(len(skeleton)) if probability is None else probability
    opacity = 0.15 + 0.85 * certainty
    colors = np.column_stack([joint_colors(skeleton) / 255, opacity])
    halves, owners = [], []
    for a, b in skeleton.limb_indices:
        middle = (pose[a] + pose[b]) / 2
        halves += [(pose[a], middle), (middle, pose[b])]
        owners += [a, b]
    outline = np.column_stack([np.zeros((len(owners), 3)), 0.8 * opacity[owners]])
    axis.add_collection(LineCollection(halves, colors=outline, linewidths=2.6, capstyle="round", zorder=2))
    axis.add_collection(LineCollection(halves, colors=colors[owners], linewidths=1.5, capstyle="round", zorder=3))
    axis.scatter(
        pose[:, 0], pose[:, 1], s=7, c=colors, edgecolors=[(0, 0, 0, a) for a in opacity], linewidths=0.4, zorder=4
    )


def save(figure: Figure, path: Path) -> list[Path]:
    """Write `path`.pdf and `path`.png (300 dots an inch); returns both."""
    files = [path.with_name(f"{path.name}{suffix}") for suffix in (".pdf", ".png")]
    for file in files:
        # Without the date the same figure is the same file. Type 42: text stays text, which publishers ask for.
        metadata = {"CreationDate": None} if file.suffix == ".pdf" else None
        with matplotlib.rc_context({"pdf.fonttype": 42}), atomic_path(file) as temporary:
            figure.savefig(temporary, dpi=300, metadata=metadata)
    return files


def _sheet(width: float, height: float) -> Figure:
    """An empty figure of that many inches, its panels close together."""
    return Figure((width, height), layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0))


def _extent(person: Answers) -> tuple[float, float, float, float]:
    """Where the map's edges lie in the crop, so that each cell's centre lies at the coordinate it stands for."""
    edges = []
    for length in (person.heatmaps.shape[1], person.heatmaps.shape[0]):
        ramp = coordinate_ramp(length, person.grid)
        step = (ramp[-1] - ramp[0]) / (length - 1)
        edges.append((float(ramp[0] - step / 2), float(ramp[-1] + step / 2)))
    (left, right), (top, bottom) = edges
    return left, right, bottom, top


def _frame(axis: Axes) -> None:
    axis.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[], aspect="equal")
    for spine in axis.spines.values():
        spine.set(linewidth=0.4, color="0.4")


def _photo(axis: Axes, person: Answers) -> None:
    """The crop, cut from the photograph itself and so sharper than what the network sees; black outside."""
    axis.set_facecolor("black")
    axis.imshow(person.photo, extent=person.extent)
    _frame(axis)


def _letters(axes: Sequence[Axes], labels: Sequence[str]) -> None:
    for axis, label, letter in zip(axes, labels, "abcdefghij", strict=False):
        axis.set_xlabel(f"({letter}) {label}", fontsize=FONT + 1, labelpad=3)


def _ring(axis: Axes, point: np.ndarray, color: np.ndarray) -> None:
    """A mark that leaves the map's peak inside it visible."""
    x, y = point
    red, green, blue = color
    for width, edge in ((2.0, INK), (1.1, to_hex((red, green, blue)))):
        axis.scatter(x, y, s=32, facecolors="none", edgecolors=edge, linewidths=width, zorder=4)


def _legend(figure: Figure, skeleton: Skeleton) -> None:
    """The joints' colours: a column for each pair, the person's right above the left."""
    colors = dict(zip(skeleton.names, joint_colors(skeleton) / 255, strict=True))
    names = sorted(skeleton.names, key=_order)
    middle = [name for name in names if "_" not in name]
    pairs = [name for name in names if "_" in name]
    handles = [
        matplotlib.lines.Line2D([], [], ls="", marker="o", ms=4, mfc=colors[name], mec=INK, mew=0.4, label=_plain(name))
        for name in middle + pairs
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=-(-len(handles) // 2), fontsize=FONT - 1.4, frameon=False,
        handletextpad=0, columnspacing=0.45, borderpad=0,
    )  # fmt: skip


def _bars(axis: Axes, person: Answers) -> None:
    """The probability of every context map's answer, joint by joint."""
    count, joints = person.context_probability.shape
    order = sorted(range(joints), key=lambda j: _order(person.skeleton.names[j]))
    colors = joint_colors(person.skeleton)[order] / 255
    width = 0.8 / count
    for i, probability in enumerate(100 * person.context_probability[:, order]):
        at = np.arange(joints) + (i - (count - 1) / 2) * width
        axis.bar(at, probability, 0.92 * width, color=colors, edgecolor=INK, linewidth=0.4)
        for x, value in zip(at, probability, strict=True):
            axis.text(x, value + 3, f"{value:.0f}", fontsize=FONT - 2, ha="center", va="bottom")
    axis.set(xlim=(-0.6, joints - 0.4), ylim=(0, 125), yticks=(0, 100))
    axis.set_xticks(
        range(joints), [_plain(person.skeleton.names[j]).replace(" ", "\n") for j in order], fontsize=FONT - 1
    )
    axis.tick_params(length=0, pad=2, labelsize=FONT - 1)
    maps = " | ".join(str(i + 1) for i in range(count))
    axis.set_ylabel(f"probability\nof maps {maps}, %", fontsize=FONT - 1)
    axis.spines[["top", "right"]].set_visible(False)


def _order(name: str) -> tuple[int, bool, str]:
    """From the head down, right before left."""
    parts = ("head", "neck", "thorax", "pelvis", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    part = name.split("_")[-1]
    return (parts.index(part) if part in parts else len(parts), name.startswith("left"), part)


def _plain(name: str) -> str:
    return name.replace("_", " ")


if __name__ == "__main__":
    run(main)
