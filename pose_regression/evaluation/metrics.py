"""How right a pose is: PCKh as MPII's own evaluation counts it, PCK and PCP as the LSP tables do.

Every PCK goes the same way: positions -> normalised distances (N, J) -> rates in per cent. In the distances NaN is
a joint that is not scored and infinity one that is surely missed. Rates are NaN where nothing is scored.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.integrate import trapezoid

from pose_regression.errors import PoseError
from pose_regression.skeleton import LSP, MPII, Skeleton


def _pair(joint: str) -> tuple[str, str]:
    return f"right_{joint}", f"left_{joint}"


_LIMB_JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")

PCKH_JOINTS = ("neck", "head", *(name for joint in _LIMB_JOINTS for name in _pair(joint)))
"""The 14 joints of PCKh's total: all of MPII's but pelvis and thorax, which the given crop nearly gives away."""

_PCKH_COLUMNS = {"Head": ("neck", "head"), **{joint.capitalize(): _pair(joint) for joint in _LIMB_JOINTS}}

_LSP_COLUMNS = {
    "Head": ("neck", "head"),
    "Sho.": _pair("shoulder"),
    "Elb.": _pair("elbow"),
    "Wri.": _pair("wrist"),
    "Hip": _pair("hip"),
    "Knee": _pair("knee"),
    "Ank.": _pair("ankle"),
}

# Part -> its sticks, each from one end to the other; an end named twice is the mean of both joints.
_STICKS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("Lower leg", ("right_ankle",), ("right_knee",)),
    ("Upper leg", ("right_knee",), ("right_hip",)),
    ("Upper leg", ("left_hip",), ("left_knee",)),
    ("Lower leg", ("left_knee",), ("left_ankle",)),
    ("Forearm", ("right_wrist",), ("right_elbow",)),
    ("Upper arm", ("right_elbow",), ("right_shoulder",)),
    ("Upper arm", ("left_shoulder",), ("left_elbow",)),
    ("Forearm", ("left_elbow",), ("left_wrist",)),
    ("Head", ("neck",), ("head",)),
    ("Torso", _pair("hip"), _pair("shoulder")),
)
_PCP_COLUMNS = ("Torso", "Upper leg", "Lower leg", "Upper arm", "Forearm", "Head")


def pckh(
    true: np.ndarray, predicted: np.ndarray, head_size: np.ndarray, present: np.ndarray, threshold: float = 0.5
) -> dict[str, float]:
    """PCKh on MPII, counted as the official evalMPII does.

    A joint is right when it lies within `threshold` head sizes of its annotation. "Head" is the mean of the rates of
    upper neck and head top, the pairs are means of their two rates, "Total" pools all `PCKH_JOINTS`.

    The authors' validation score is "Total" with `present` further restricted to joints inside the crop
    (`inside_crop`); the official score, used elsewhere here, counts those outside too.

    Args:
        true: (N, 16, 2) annotated joints in MPII order, in image pixels; anything where not `present`.
        predicted: (N, 16, 2) in the same pixels; NaN is a miss.
        head_size: (N,) 0.6 times the diagonal of the head box, in pixels.
        present: (N, 16) bool, the joints that are annotated, occluded ones included.
        threshold: in head sizes.

    Returns:
        Per cent for "Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total". NaN where a
        joint of the column is never present.

    Raises:
        PoseError: a shape does not fit, a present joint has no position, or its person no positive head size.

    Source: Andriluka et al., CVPR 2014; evaluatePCKh.m and genTablePCK.m of evalMPII.
    """
    distances = mpii_distances(true, predicted, head_size, present)
    scores = _column_rates(distances, MPII, _PCKH_COLUMNS, threshold)
    scores["Total"] = _rate(take_joints(distances, MPII, PCKH_JOINTS), threshold)
    return scores


def pck_lsp(true: np.ndarray, predicted: np.ndarray, threshold: float = 0.2) -> dict[str, float]:
    """PCK on LSP: a joint is right within `threshold` of the torso, left shoulder to right hip, of its image.

    Args:
        true: (N, 14, 2) annotated joints in LSP order, in pixels of any one scale per image; all of them count.
        predicted: (N, 14, 2) in the same pixels; NaN is a miss.
        threshold: in torso lengths.

    Returns:
        Per cent for "Head", "Sho.", "Elb.", "Wri.", "Hip", "Knee", "Ank." (means over both joints) and "PCK", pooled
        over all 14.

    Raises:
        PoseError: a shape does not fit, or an annotated joint has no position.

    Source: the LSP evaluation of human-pose.mpi-inf.mpg.de, columns as in Table 2 of the paper.
    """
    return _pck_of(lsp_distances(true, predicted), threshold)


def pcp_lsp(true: np.ndarray, predicted: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Strict PCP on LSP: a stick is right if both ends lie within `threshold` of its length. See `pcp_sticks`.

    Args:
        true: (N, 14, 2) annotated joints in LSP order, in pixels.
        predicted: (N, 14, 2) in the same pixels; NaN is a miss.
        threshold: in lengths of the annotated stick.

    Returns:
        Per cent for "Torso", "Upper leg", "Lower leg", "Upper arm", "Forearm", "Head" and "PCP", the mean over the
        ten sticks.

    Raises:
        PoseError: a shape does not fit, or an annotated joint has no position.
    """
    return pcp_sticks(lsp_sticks(true), lsp_sticks(predicted), threshold)


def lsp_sticks(joints: np.ndarray) -> np.ndarray:
    """The ten sticks of LSP's PCP from its joints: (N, 14, 2) -> (N, 10, 2, 2), stick, end, x and y.

    In this order: right lower and upper leg, left upper and lower leg, right forearm and upper arm, left upper arm
    and forearm, head, and the torso from the middle of the hips to the middle of the shoulders.
    """
    joints = _positions("joints", joints, LSP)
    ends = [[take_joints(joints, LSP, end, axis=1).mean(axis=1) for end in (start, stop)] for _, start, stop in _STICKS]
    return np.moveaxis(np.array(ends), 2, 0)


def pcp_sticks(true: np.ndarray, predicted: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Strict PCP of sticks that need not share joints, as part-based methods give them.

    A stick of length 0 (im1185 of LSP has two, its right leg) is never right.

    As `pcp_lsp`, but of (N, 10, 2, 2) sticks as from `lsp_sticks`.

    Source: Ferrari et al., CVPR 2008, read strictly; columns as in Table 3 of the paper.
    """
    true, predicted = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    shape = (len(_STICKS), 2, 2)
    for name, value in (("true", true), ("predicted", predicted)):
        if value.shape != (len(true), *shape):
            raise PoseError(f"Expected {name} of shape (N, {', '.join(map(str, shape))}). Received: {value.shape}")
    if not np.isfinite(true).all():
        raise PoseError("true has a stick without a position; LSP annotates every joint.")
    length = _length(true[:, :, 0] - true[:, :, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        right = (_length(predicted - true) / length[:, :, None] <= threshold).all(axis=-1)
    columns = {part: [i for i, stick in enumerate(_STICKS) if stick[0] == part] for part in _PCP_COLUMNS}
    return {**{part: _per_cent(right[:, sticks]) for part, sticks in columns.items()}, "PCP": _per_cent(right)}


def mpii_distances(true: np.ndarray, predicted: np.ndarray, head_size: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Distances in head sizes, (N, 16) float64 in MPII order: NaN where not present, infinity where predicted NaN.

    Arguments and errors as for `pckh`.
    """
    true, predicted = _positions("true", true, MPII), _positions("predicted", predicted, MPII)
    head_size, present = np.asarray(head_size, np.float64), np.asarray(present)
    _same_people(true, predicted)
    if head_size.shape != true.shape[:1]:
        raise PoseError(f"Expected head_size of shape {true.shape[:1]}. Received: {head_size.shape}")
    if present.shape != true.shape[:2] or present.dtype != bool:
        raise PoseError(
            f"Expected present as bool of shape {true.shape[:2]}. Received: {present.dtype} {present.shape}"
        )
    if not np.isfinite(true[present]).all():
        raise PoseError("true has no position for a joint that is marked present.")
    unscaled = present.any(axis=1) & ~(np.isfinite(head_size) & (head_size > 0))
    if unscaled.any():
        person = int(np.argmax(unscaled))
        raise PoseError(f"Expected a positive head_size. Received: {head_size[person]} for person {person}")
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = _length(predicted - true) / head_size[:, None]
    return np.where(present, _missed(distances), np.nan)


def lsp_distances(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Distances in torso lengths, (N, 14) float64 in LSP order: infinity where predicted NaN or the torso is a point.

    Arguments and errors as for `pck_lsp`.
    """
    true, predicted = _positions("true", true, LSP), _positions("predicted", predicted, LSP)
    _same_people(true, predicted)
    if not np.isfinite(true).all():
        raise PoseError("true has a joint without a position; LSP annotates every joint.")
    torso = _length(true[:, LSP.index("left_shoulder")] - true[:, LSP.index("right_hip")])
    with np.errstate(divide="ignore", invalid="ignore"):
        return _missed(_length(predicted - true) / torso[:, None])


def photograph_distances(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Distances in torso lengths where not every joint is annotated, (N, 14) float64 in LSP order.

    The torso is that of `pck_lsp`, left shoulder to right hip, or where one of them is not annotated right shoulder to
    left hip.

    Args:
        true: (N, 14, 2) annotated joints in LSP order, in pixels; NaN where absent.
        predicted: (N, 14, 2) in the same pixels; NaN is a miss.

    Returns:
        NaN where a joint is absent, and for a person without a torso; infinity where predicted NaN.

    Raises:
        PoseError: a shape does not fit.
    """
    true, predicted = _positions("true", true, LSP), _positions("predicted", predicted, LSP)
    _same_people(true, predicted)
    a, b = (
        _length(true[:, LSP.index(f"{side}_shoulder")] - true[:, LSP.index(f"{other}_hip")])
        for side, other in (("left", "right"), ("right", "left"))
    )
    torso = np.where(np.isfinite(a), a, b)[:, None]
    scored = np.isfinite(true).all(axis=-1) & np.isfinite(torso) & (torso > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(scored, _missed(_length(predicted - true) / torso), np.nan)


def pck_photographs(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """`pck_lsp` of the annotated joints of people who are not annotated in full; see `photograph_distances`."""
    return _pck_of(photograph_distances(true, predicted), 0.2)


def _pck_of(distances: np.ndarray, threshold: float) -> dict[str, float]:
    return {**_column_rates(distances, LSP, _LSP_COLUMNS, threshold), "PCK": _rate(distances, threshold)}


def joint_rates(distances: np.ndarray, joints: Skeleton, threshold: float) -> dict[str, float]:
    """Per cent of the scored joints within `threshold`, by joint name; NaN for a joint that is never scored.

    Args:
        distances: (N, J) as from `mpii_distances` or `lsp_distances`.
        joints: the skeleton whose order `distances` has.
        threshold: in the unit of `distances`.
    """
    return {name: _rate(distances[:, i], threshold) for i, name in enumerate(joints.names)}


def pck_curve(distances: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """PCK over thresholds, pooled over everything in `distances` that is not NaN.

    Args:
        distances: any shape; for PCKh's total `take_joints(distances, MPII, PCKH_JOINTS)`.
        thresholds: (T,) in the unit of `distances`.

    Returns:
        (T,) per cent.
    """
    return np.array([_rate(np.asarray(distances), threshold) for threshold in np.asarray(thresholds)])


def area_under_curve(thresholds: np.ndarray, rates: np.ndarray) -> float:
    """Mean height of the curve through `rates` (T,) at increasing `thresholds` (T,), in the unit of `rates`.

    Source: evalMPII, which takes 0 to 0.5 in steps of 0.01 (trapezoids between the points).
    """
    return float(trapezoid(rates, thresholds) / (thresholds[-1] - thresholds[0]))


def inside_crop(pose: np.ndarray) -> np.ndarray:
    """True for joints strictly inside the crop: (..., J, 2) crop-normalised -> (..., J) bool; NaN is outside.

    The authors' code drops the others from its validation score and takes this as the target of the probability.
    """
    pose = np.asarray(pose)
    return np.all((pose > 0) & (pose < 1), axis=-1)


def calibration(probability: np.ndarray, inside: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """How often joints given a probability really are there: a reliability table over equal bins of [0, 1].

    Args:
        probability: any shape, in [0, 1]; NaN is left out.
        inside: bool of the same shape, the truth (`inside_crop`, and annotated).
        bins: number of rows.

    Returns:
        One row a bin: "low" and "high", its bounds (the upper one belongs to it in the last bin alone); "count";
        "probability", the mean given; "frequency", the part of `inside`, both in [0, 1] and NaN in an empty bin.
    """
    probability, inside = np.asarray(probability, np.float64), np.asarray(inside, bool)
    known = ~np.isnan(probability)
    probability, inside = probability[known], inside[known]
    row = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(row, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean, frequency = (np.bincount(row, values, bins) / count for values in (probability, inside))
    names = ("low", "high", "count", "probability", "frequency")
    edges = np.arange(bins + 1) / bins
    columns = [values.tolist() for values in (edges[:-1], edges[1:], count, mean, frequency)]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def calibration_error(rows: Sequence[Mapping[str, float]]) -> float:
    """Expected calibration error: mean difference between probability given and frequency found, in [0, 1]."""
    filled = [row for row in rows if row["count"]]
    total = sum(row["count"] for row in filled)
    return sum(row["count"] * abs(row["probability"] - row["frequency"]) for row in filled) / total


def take_joints(values: np.ndarray, joints: Skeleton, names: Sequence[str], axis: int = -1) -> np.ndarray:
    """The entries of `values` along `axis`, which has the order of `joints`, for the joints `names`."""
    return np.take(values, [joints.index(name) for name in names], axis=axis)


def _column_rates(
    distances: np.ndarray, joints: Skeleton, columns: Mapping[str, Sequence[str]], threshold: float
) -> dict[str, float]:
    rates = joint_rates(distances, joints, threshold)
    return {column: sum(rates[name] for name in names) / len(names) for column, names in columns.items()}


def _rate(distances: np.ndarray, threshold: float) -> float:
    scored = ~np.isnan(distances)
    return _per_cent(distances[scored] <= threshold)


def _per_cent(right: np.ndarray) -> float:
    return 100.0 * float(right.mean()) if right.size else float("nan")


def _length(vector: np.ndarray) -> np.ndarray:
    # Not hypot: the benchmarks' own tools take this root, and a joint may lie exactly on the threshold.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(np.square(vector).sum(axis=-1))


def _missed(distances: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(distances), np.inf, distances)


def _positions(name: str, value: np.ndarray, joints: Skeleton) -> np.ndarray:
    value = np.asarray(value, np.float64)
    if value.ndim != 3 or value.shape[1:] != (len(joints), 2):
        raise PoseError(f"Expected {name} of shape (N, {len(joints)}, 2). Received: {value.shape}")
    return value


def _same_people(true: np.ndarray, predicted: np.ndarray) -> None:
    if len(true) != len(predicted):
        raise PoseError(f"Expected as many predictions as people, {len(true)}. Received: {len(predicted)}")
