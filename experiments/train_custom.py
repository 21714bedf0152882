"""Train on one's own joints and pictures: an annotation file in the COCO keypoints format and a folder.

    python -m experiments.train_custom --annotations coco.json --images DIR --recipe quick --blocks 4 --width 288 \\
        --input-size 128 --weights small --output runs/custom
    python -m experiments.train_custom --annotations person_keypoints_train2017.json --images train2017 \\
        --validation person_keypoints_val2017.json --validation-images val2017

The first suits some hundred to some thousand pictures: a small network that starts from weights for other joints, of
which all fits but the layers that make heat maps and take them in. 450 rendered people with 5 joints, 8
epochs: 68 PCK, and 4 without --weights (with K = 2 and the `small` of before). The second is the paper's network and
recipe from scratch, and wants a GPU. `pose_regression/data/coco.py` says what is read from the file, how left and
right are told, and what is skipped.

Without --validation the last tenth of the file's pictures (`--holdout`) is kept for it: the last and not any, since
neighbours in a file are often frames of one film. The score is PCK@0.1 of the box: a joint is right within 0.1 of the
longer side of its person's box, hidden joints included, ones that are not labelled left out. Ends with
`best.weights.h5`, which carries the joints, so that `experiments.predict` and `PosePredictor` need nothing else.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.training_run import add_options, main_of, run_training
from pose_regression.errors import PoseError
from pose_regression.skeleton import Skeleton

if TYPE_CHECKING:  # importing Keras takes seconds
    from pose_regression.data.sample import Sample
    from pose_regression.model.network import PoseRegressor

THRESHOLD = 0.1
"""Of PCK, in longer sides of the box. An upright adult's PCKh@0.5 and LSP's PCK@0.2 come to about 0.07 of it."""

HOLDOUT = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True, metavar="FILE", help="COCO keypoints, .json")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="where its file names start from")
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--validation", type=Path, metavar="FILE", help="another file of the same joints to validate on")
    kept.add_argument(
        "--holdout", type=float, default=HOLDOUT, metavar="FRACTION",
        help=f"of the pictures, the last, kept for validation (default: {HOLDOUT})",
    )  # fmt: skip
    parser.add_argument("--validation-images", type=Path, metavar="DIR", help="of --validation (default: --images)")
    parser.add_argument(
        "--weights", default="none", metavar="NAME_OR_FILE",
        help="start from these, of any joints; 'none' for from scratch (default)",
    )  # fmt: skip
    add_options(parser, recipe="paper")
    options = parser.parse_args()
    options.output = options.output or Path("runs/custom")

    from pose_regression.data import coco
    from pose_regression.data.images import without_broken
    from pose_regression.evaluation.windows import predict
    from pose_regression.model.weights import load_model

    annotated = coco.load(options.annotations, options.images)
    skeleton = annotated.skeleton
    print(f"{len(skeleton)} joints: {_described(skeleton)}", flush=True)
    _print_skipped(options.annotations, annotated.skipped)
    if options.validation:
        other = coco.load(options.validation, options.validation_images or options.images)
        _print_skipped(options.validation, other.skipped)
        if other.skeleton.names != skeleton.names:
            raise PoseError(
                f"{options.validation} has other joints than {options.annotations}: {', '.join(other.skeleton.names)}."
            )
        training, validation = annotated.samples, other.samples
    else:
        training, validation = hold_out(annotated.samples, options.holdout)
    validation = without_broken(validation)
    initial = None if options.weights == "none" else lambda model: start_from(model, options.weights)

    def score(samples, pixels):
        return score_pck(samples, pixels, skeleton)

    directory = run_training(
        options, training=training, validation=validation, score=score, total="PCK", skeleton=skeleton, initial=initial
    )  # fmt: skip

    weights = directory / "best.weights.h5"
    scores = score(validation, predict(load_model(weights)[0], validation, skeleton=skeleton).pixels)
    print(f"\nPCK@{THRESHOLD} of the box on {len(validation)} people to validate on, best epoch\n")
    width = max(map(len, scores))
    print(*(f"  {name:<{width}}  {value:5.1f}" for name, value in scores.items()), sep="\n")
    print(f"\nweights  {weights}\ncurves   {directory / 'curves.png'}")
    print(f"use      python -m experiments.predict PHOTO --weights {weights}")


def hold_out(samples: Sequence["Sample"], fraction: float) -> tuple[list["Sample"], list["Sample"]]:
    """Training and validation: the people in the last `fraction` of the pictures, at least one, are the latter.

    Raises:
        PoseError: `fraction` is not between 0 and 1, or there is but one picture.
    """
    pictures = list(dict.fromkeys(sample.image for sample in samples))
    if not 0 < fraction < 1:
        raise PoseError(f"--holdout must lie between 0 and 1. Received: {fraction}")
    if len(pictures) < 2:
        raise PoseError(f"{pictures[0]} is the only picture with people; expected one more to validate on.")
    held = set(pictures[-max(1, round(fraction * len(pictures))) :]) - {pictures[0]}
    return [s for s in samples if s.image not in held], [s for s in samples if s.image in held]


def score_pck(samples: Sequence["Sample"], pixels: np.ndarray, skeleton: Skeleton) -> dict[str, float]:
    """PCK by joint and pooled ("PCK"), per cent; NaN for a joint that is never labelled.

    Args:
        samples: N people.
        pixels: (N, J, 2) predictions in image pixels; NaN is a miss.
        skeleton: the J joints.
    """
    from pose_regression.evaluation.metrics import joint_rates, pck_curve
    from pose_regression.geometry import BOX_MARGIN

    length = np.array([sample.side for sample in samples]) / BOX_MARGIN
    present = np.stack([sample.present for sample in samples])
    distances = np.linalg.norm(pixels - np.stack([sample.joints for sample in samples]), axis=-1) / length[:, None]
    distances = np.where(present, np.nan_to_num(distances, nan=np.inf), np.nan)
    # A joint may have any name, and these become columns of the history beside "loss" and "score".
    rates = {f"PCK {name}": rate for name, rate in joint_rates(distances, skeleton, THRESHOLD).items()}
    return rates | {"PCK": float(pck_curve(distances, np.array([THRESHOLD]))[0])}


def start_from(model: "PoseRegressor", weights: str | Path) -> None:
    """Give `model` the weights of a network for any joints, except to the layers whose shape the joints decide.

    Raises:
        PoseError: no such weights, or a network of another width or fewer blocks; `model` is then unchanged.
    """
    from pose_regression.model.weights import load_model, named_weights

    source = named_weights(load_model(weights)[0])
    fitting = {}
    for name, variable in named_weights(model).items():
        if name in source and source[name].shape == variable.shape:
            fitting[name] = variable
        elif not name.endswith(("/heatmaps/kernel", "/project/kernel")):
            raise PoseError(
                f"--weights {weights} is a network of another size: {name} is "
                f"{tuple(source[name].shape) if name in source else 'missing'}, expected {tuple(variable.shape)}."
            )
    for name, variable in fitting.items():
        variable.assign(source[name].value)


def _described(skeleton: Skeleton) -> str:
    pairs = [f"{skeleton.names[i]} <-> {skeleton.names[j]}" for i, j in enumerate(skeleton.flip) if i < j]
    others = [name for i, name in enumerate(skeleton.names) if skeleton.flip[i] == i]
    return ", ".join(pairs + others)


def _print_skipped(path: Path, skipped: dict[str, int]) -> None:
    reasons = [f"{count} {reason}" for reason, count in skipped.items() if count]
    if reasons:
        print(f"{path}: skipped {', '.join(reasons)}.", flush=True)


if __name__ == "__main__":
    main_of(main)
