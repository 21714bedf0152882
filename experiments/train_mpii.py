"""Train on MPII, as section 4.1 of the paper, or on the synthetic set that needs no download.

    python -m experiments.train_mpii --data datasets/mpii --output runs/mpii
    python -m experiments.train_mpii --data synthetic --recipe quick --epochs 16 --blocks 1 --width 192 \\
        --input-size 128 --learning-rate 2e-3 --rotation 10 --zoom 0.9 1.1

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
    from pose_regression.evaluation.benchmarks import MPII
    from pose_regression.evaluation.paper import format_table
    from pose_regression.evaluation.sheets import draw_people
    from pose_regression.evaluation.windows import predict
    from pose_regression.model.weights import load_model, load_weights
    from pose_regression.skeleton import PA16J
    from pose_regression.visualize import save_image

    folder = people.ensure(SYNTHETIC) if synthetic else Path(options.data)
    training, validation = mpii.load(folder, "train"), mpii.load(folder, "val")
    if not (folder / "images").is_dir():
        raise PoseError(
            f"{folder / 'images'} does not exist: download mpii_human_pose_v1.tar.gz (12.9 GB) from "
            f"human-pose.mpi-inf.mpg.de and unpack it into {folder}; or train with --data synthetic."
        )
    initial = None if options.weights == "none" else lambda model: load_weights(model, options.weights)
    directory = run_training(
        options, training=training, validation=validation, score=MPII.score, total="Total", initial=initial
    )

    model, _ = load_model(directory / "best.weights.h5")
    pixels = predict(model, validation).pixels
    picture = directory / "predictions.png"
    save_image(picture, draw_people(validation[:24], pixels[:24], PA16J, columns=6))
    print(f"\nPCKh@0.5 on {len(validation)} validation people, single crop, best epoch\n")
    print(format_table([("best.weights.h5", MPII.score(validation, pixels))]))
    print(f"\nweights  {directory / 'best.weights.h5'}\ncurves   {directory / 'curves.png'}\npicture  {picture}")


if __name__ == "__main__":
    main_of(main)
