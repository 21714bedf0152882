"""Data sets to be scored on, everything about each in one object: adding one touches its loader and this file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pose_regression import skeleton as skeletons
from pose_regression.data import lsp, mpii, synthetic
from pose_regression.data.sample import Sample
from pose_regression.data.windows import windows_of_samples
from pose_regression.errors import PoseError
from pose_regression.evaluation import metrics
from pose_regression.evaluation.paper import Quoted, quoted_rows
from pose_regression.geometry import invert, transform_points
from pose_regression.skeleton import PA16J, Skeleton, reorder

Columns = dict[str, float]
"""A row of a table: column -> per cent."""

Loader = Callable[[Path, str, Path | None], list[Sample]]
"""Folder, split and a file of annotation (None: the folder's own) -> people in the order PA16J."""

Table = Callable[[Sequence[Sample], np.ndarray], Columns]
"""N people and their poses (N, J, 2) in image pixels, in the benchmark's order -> a row."""


@dataclass(frozen=True, eq=False)
class Benchmark:
    """How people of one data set are read and how their predicted poses are scored.

    `distances` and `scores` take poses in the benchmark's own joint order, as its published predictions come;
    `score`, which training validates with, takes them in the network's.
    """

    name: str
    """What `--benchmark` calls it."""
    title: str
    """What a reader calls it."""
    skeleton: Skeleton
    """Its joints, in its order."""
    splits: tuple[str, ...]
    """The first one is scored by default."""
    metric: str
    """The one that decides, a key of `tables`."""
    unit: str
    """Of the distances."""
    threshold: float
    """Distance up to which a joint is right."""
    total: str
    """The column that sums the metric up."""
    counted: tuple[str, ...]
    """Joints that the total pools."""
    read: Loader
    distances: Callable[[Sequence[Sample], np.ndarray], np.ndarray]
    """N people and their poses, as `scores` takes them -> (N, J) in `unit`, in the order of `skeleton`; NaN
    where nothing is scored."""
    tables: Mapping[str, Table]
    """Metric -> its table."""
    quoted: Mapping[tuple[str, str], tuple[Quoted, ...]] = field(default_factory=dict)
    """(split, metric) -> rows of others to print beside ours."""
    mean_pose_of: str | None = None
    """The split whose mean pose is printed as the baseline, if any."""
    several_crops: frozenset[str] = frozenset()
    """Splits whose published scores come from several crops and their mirror images."""
    official: Callable[[Path], Path | None] | None = None
    """Finds the annotation in the official layout in a folder; None where a benchmark takes no other than its own."""
    omits: bool = True
    """Whether a joint without annotation is left out of the score, and not only a miss."""
    images: str = ""
    """Where missing images come from, with their size."""

    def load(self, folder: str | Path, split: str | None = None, *, annotation: Path | None = None) -> list[Sample]:
        """The people of a split (the first by default), in the benchmark's order, joints in the order PA16J.

        Args:
            folder: of the data set, see datasets/README.md.
            split: one of `splits`.
            annotation: a file in the official layout in place of the folder's own.

        Raises:
            PoseError: a file is absent or damaged, the split unknown or empty, or `annotation` given where none is
                taken.
        """
        split = self.splits[0] if split is None else split
        if split not in self.splits:
            raise PoseError(f"{self.title} has the splits {', '.join(self.splits)}. Received: {split}")
        if annotation and not self.official:
            raise PoseError(f"{self.title} takes no other annotation than its own. Received: {annotation}")
        samples = self.read(Path(folder), split, annotation)
        if not samples:
            raise PoseError(f"{annotation or folder} has nobody in the split {split} of {self.title}.")
        return samples

    def require_images(self, samples: Sequence[Sample]) -> None:
        """`PoseError` that says what to download if an image is not there."""
        images = sorted({sample.image for sample in samples})
        missing = [image for image in images if not Path(image).is_file()]
        if missing:
            raise PoseError(
                f"{len(missing):,} of {len(images):,} images are missing, such as {missing[0]}; download {self.images} "
                f"into {Path(missing[0]).parent}, see datasets/README.md."
            )

    def scores(self, samples: Sequence[Sample], pixels: np.ndarray) -> dict[str, Columns]:
        """Every table: metric -> column -> per cent.

        Args:
            samples: N people.
            pixels: (N, J, 2) in image pixels, in the order of `skeleton`.

        Raises:
            PoseError: `pixels` has another number of people or joints.
        """
        return {metric: table(samples, pixels) for metric, table in self.tables.items()}

    def score(self, samples: Sequence[Sample], pixels: np.ndarray) -> Columns:
        """The row of `metric`, of (N, 16, 2) `pixels` in the network's order PA16J; errors of `scores`."""
        return self.tables[self.metric](samples, reorder(pixels, PA16J, self.skeleton))


def annotated(samples: Sequence[Sample]) -> bool:
    """Whether anything can be scored; MPII's test people mostly come without joints."""
    return any(sample.present.any() for sample in samples)


def joints_inside(samples: Sequence[Sample]) -> list[Sample]:
    """The samples without the annotation of joints outside their windows, as the paper's authors validate."""
    joints = np.stack([sample.joints for sample in samples])
    inside = metrics.inside_crop(transform_points(windows_of_samples(samples).affine(), joints))
    return [
        replace(sample, joints=np.where(mask[:, None], sample.joints, np.nan))
        for sample, mask in zip(samples, inside, strict=True)
    ]


def mean_pose(training: Sequence[Sample], samples: Sequence[Sample]) -> np.ndarray:
    """The baseline that looks at no picture: the training people's mean within their crops, put into each crop.

    Returns:
        (N, 16, 2) pixels in the order PA16J; NaN for joints that no training person has.
    """
    poses = transform_points(windows_of_samples(training).affine(), np.stack([sample.joints for sample in training]))
    known = np.isfinite(poses)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, poses, 0).sum(axis=0) / known.sum(axis=0)
    back = invert(windows_of_samples(samples).affine())
    return transform_points(back, np.broadcast_to(mean, (len(samples), *mean.shape)))


def _truth(samples: Sequence[Sample], order: Skeleton) -> np.ndarray:
    """(N, J, 2) annotated joints in image pixels."""
    return reorder(np.stack([sample.joints for sample in samples]), PA16J, order)


# ------------------------------------------------------------------------------------------------------------ LSP


def _of_lsp(function: Callable[[np.ndarray, np.ndarray], Any]) -> Callable[[Sequence[Sample], np.ndarray], Any]:
    """A function of annotated and predicted joints, as one of samples and predicted joints."""
    return lambda samples, pixels: function(_truth(samples, skeletons.LSP), pixels)


_LSP_SOURCE = (
    "the paper, {table}; columns also at github.com/farrajota/human-pose-benchmark@0228bb3, "
    "and recomputed from the published predictions"
)

# The paper's own rows of these two tables could not be traced.
_TABLE_2 = quoted_rows(
    _LSP_SOURCE.format(table="Table 2"),
    "Head Sho. Elb. Wri. Hip Knee Ank. PCK",
    {
        "Pishchulin et al., ICCV'13": (87.2, 56.7, 46.7, 38.0, 61.0, 57.5, 52.7, 57.1),
        "Wei et al., CVPR'16": (97.8, 92.5, 87.0, 83.9, 91.5, 90.8, 89.9, 90.5),
        "Bulat and Tzimiropoulos, ECCV'16": (97.2, 92.1, 88.1, 85.2, 92.2, 91.4, 88.7, 90.7),
    },
) + quoted_rows("the paper, Table 2", "PCK", {"Earlier regression method, trained on MPII too": (73.1,)})

_TABLE_3 = quoted_rows(
    _LSP_SOURCE.format(table="Table 3"),
    "Torso Upper_leg Lower_leg Upper_arm Forearm Head PCP",
    {
        "Pishchulin et al., ICCV'13": (88.7, 63.6, 58.4, 46.0, 35.2, 85.1, 58.0),
        "Wei et al., CVPR'16": (98.0, 92.2, 89.1, 85.8, 77.9, 95.0, 88.3),
        "Bulat and Tzimiropoulos, ECCV'16": (97.7, 92.4, 89.3, 86.7, 79.7, 95.2, 88.9),
    },
)

LSP = Benchmark(
    name="lsp",
    title="LSP",
    skeleton=skeletons.LSP,
    splits=("test", "train"),
    metric="PCK@0.2",
    unit="torso lengths",
    threshold=0.2,
    total="PCK",
    counted=skeletons.LSP.names,
    read=lambda folder, split, _: lsp.load(folder, split),
    distances=_of_lsp(metrics.lsp_distances),
    tables={"PCK@0.2": _of_lsp(metrics.pck_lsp), "PCP@0.5": _of_lsp(metrics.pcp_lsp)},
    quoted={("test", "PCK@0.2"): _TABLE_2, ("test", "PCP@0.5"): _TABLE_3},
    mean_pose_of="train",
    omits=False,
    images="LSP",
)
"""Leeds Sports Pose, person-centric; the crop is the image as LSP ships it."""


# ---------------------------------------------------------------------------------------------- LSPET photographs


LSPET_PHOTOGRAPHS = replace(
    LSP,
    name="lspet-photographs",
    title="LSPET",
    splits=("photographs",),
    read=lambda folder, split, _: lsp.load_extended(folder, split),
    distances=_of_lsp(metrics.photograph_distances),
    tables={"PCK@0.2": _of_lsp(metrics.pck_photographs)},
    quoted={},
    mean_pose_of=None,
    omits=True,
    images="LSPET",
)
"""Whole photographs with one labelled person: how well people are found before their joints are. Labels are noisy."""


# ----------------------------------------------------------------------------------------------------------- MPII


def _heads(samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints (N, 16, 2) in MPII's order, head sizes (N,), and (N, 16) bool: what counts."""
    truth, size = _truth(samples, skeletons.MPII), np.array([sample.head_size for sample in samples])
    return truth, size, np.isfinite(truth).all(axis=-1) & (size > 0)[:, None]


def _head_sizes(samples: Sequence[Sample], pixels: np.ndarray) -> np.ndarray:
    truth, size, present = _heads(samples)
    return metrics.mpii_distances(truth, pixels, size, present)


def _pckh(samples: Sequence[Sample], pixels: np.ndarray) -> Columns:
    truth, size, present = _heads(samples)
    return metrics.pckh(truth, pixels, size, present)


_TABLE_1 = quoted_rows(
    "the paper, Table 1; 89.1 also in the README of github.com/dluvizon/deephar",
    "Total",
    {
        "Simple argmax": (85.3,),
        "Soft-argmax, no context": (86.9,),
        "Soft-argmax, context, alpha = 0.9": (88.7,),
        "Soft-argmax, context, alpha = 0.8": (89.1,),
    },
)

# The paper's row with several crops and flip. Which other rows its Table 4 has is not known here; these are the
# benchmark's.
_TABLE_4 = quoted_rows(
    "Sun et al., Deep High-Resolution Representation Learning for Human Pose Estimation, CVPR 2019, Table 3",
    "Head Shoulder Elbow Wrist Hip Knee Ankle Total",
    {
        "Insafutdinov et al., ECCV'16": (96.8, 95.2, 89.3, 84.4, 88.4, 83.4, 78.0, 88.5),
        "Wei et al., CVPR'16": (97.8, 95.0, 88.7, 84.0, 88.4, 82.8, 79.4, 88.5),
        "Bulat and Tzimiropoulos, ECCV'16": (97.9, 95.1, 89.9, 85.3, 89.4, 85.7, 81.7, 89.7),
        "Newell et al., ECCV'16": (98.2, 96.3, 91.2, 87.1, 90.1, 87.4, 83.6, 90.9),
        "Luvizon et al. (the paper)": (98.1, 96.6, 92.0, 87.5, 90.6, 88.0, 82.7, 91.2),
        "Chu et al., CVPR'17": (98.5, 96.3, 91.9, 88.1, 90.6, 88.0, 85.0, 91.5),
        "Chen et al., ICCV'17": (98.1, 96.5, 92.5, 88.5, 90.2, 89.6, 86.0, 91.9),
    },
)

MPII = Benchmark(
    name="mpii",
    title="MPII",
    skeleton=skeletons.MPII,
    splits=("val", "test", "train"),
    metric="PCKh@0.5",
    unit="head sizes",
    threshold=0.5,
    total="Total",
    counted=metrics.PCKH_JOINTS,
    read=lambda folder, split, annotation: mpii.load(folder, split, annotation=annotation),
    distances=_head_sizes,
    tables={"PCKh@0.5": _pckh},
    quoted={("val", "PCKh@0.5"): _TABLE_1, ("test", "PCKh@0.5"): _TABLE_4},
    several_crops=frozenset({"test"}),
    official=mpii.find_release,
    images="MPII's images (12.9 GB) from http://human-pose.mpi-inf.mpg.de",
)
"""MPII Human Pose: Table 1 on its validation people, Table 4 on its test people."""


# ------------------------------------------------------------------------------------------------------- rendered


def _rendered(folder: Path, split: str, _: Path | None) -> list[Sample]:
    return mpii.load(synthetic.ensure(synthetic.folder_of(folder)), split)


SYNTHETIC = replace(
    MPII,
    name="synthetic",
    title="Rendered people",
    splits=("val", "train"),
    read=_rendered,
    quoted={},
    several_crops=frozenset(),
    official=None,
    images="nothing: delete the folder, and they are rendered again",
)
"""People rendered on the spot, in MPII's layout and scored as there; nothing published compares with them."""

BENCHMARKS = {benchmark.name: benchmark for benchmark in (LSP, LSPET_PHOTOGRAPHS, MPII, SYNTHETIC)}
"""By `name`."""
