"""Train on MPII, as section 4.1 of the paper, or on the synthetic set that needs no download.

    python -m experiments.train_mpii --data datasets/mpii --output runs/mpii
    python -m experiments.train_mpii --data synthetic --recipe quick --blocks 2 --width 216 --input-size 128

The first is the paper's training: K = 8, 256x256, 120 epochs of RMSprop at batch 16, PCKh@0.5 on the validation
split after every epoch; 89.1 in the paper's Table 1 (single crop). The second takes minutes on a laptop's CPU and
ends with a small network, its curves and a picture of people it never saw.
"""

import argparse
from pathlib import Path

from experiments.training_run import add_options, main_of, run_training

SYNTHETIC = Path("datasets/synthetic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="MPII (see datasets/README.md), or 'synthetic' to render people"
    )
    parser.add_argument("--weights", default="none", metavar="FILE", help="start from these; 'none' for from scratch")
    add_options(parser, recipe="paper")
    options = parser.parse_args()
    synthetic = options.data == "synthetic"
    options.output = options.output or Path("runs/synthetic" if synthetic else "runs/mpii")

    from pose_regression.data import mpii
    from pose_regression.data import synthetic as people
    from pose_regression.errors import PoseError
    from pose_regression.evaluation import predict, score_mpii
    from pose_regression.paper import format_table
    from pose_regression.weights import load_model, load_weights

    folder = people.ensure(SYNTHETIC) if synthetic else Path(options.data)
    training, validation = mpii.load(folder, "train"), mpii.load(folder, "val")
    if not (folder / "images").is_dir():
        raise PoseError(
            f"{folder / 'images'} does not exist: download mpii_human_pose_v1.tar.gz (12.9 GB) from "
            f"human-pose.mpi-inf.mpg.de and unpack it into {folder}; or train with --data synthetic."
        )
    initial = None if options.weights == "none" else lambda model: load_weights(model, options.weights)
    directory = run_training(
        options, training=training, validation=validation, score=score_mpii, total="Total", initial=initial
    )

    model, _ = load_model(directory / "best.weights.h5")
    pixels = predict(model, validation).pixels
    picture = directory / "predictions.png"
    draw_people(picture, validation, pixels)
    print(f"\nPCKh@0.5 on {len(validation)} validation people, single crop, best epoch\n")
    print(format_table([("best.weights.h5", score_mpii(validation, pixels))]))
    print(f"\nweights  {directory / 'best.weights.h5'}\ncurves   {directory / 'curves.png'}\npicture  {picture}")


def draw_people(path: Path, samples, pixels, *, count: int = 24) -> None:
    """A contact sheet of the first `count` samples' crops with (N, 16, 2) predicted poses in image pixels."""
    import numpy as np

    from pose_regression.data.pipeline import evaluation_dataset
    from pose_regression.geometry import crop_affine, transform_points
    from pose_regression.skeleton import PA16J
    from pose_regression.visualize import contact_sheet, draw_pose, save_image

    samples, size = list(samples)[:count], 224
    affine = crop_affine(np.stack([s.center for s in samples]), np.array([s.side for s in samples]))
    crops = np.concatenate(list(evaluation_dataset([s.image for s in samples], affine, size=size, batch_size=count)))
    poses = transform_points(affine, pixels[:count]) * size
    drawn = [
        draw_pose(((crop + 1) * 127.5).astype(np.uint8), pose, PA16J) for crop, pose in zip(crops, poses, strict=True)
    ]
    save_image(path, contact_sheet(drawn, columns=6))


if __name__ == "__main__":
    main_of(main)
