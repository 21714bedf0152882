"""Write trained weights in the format of a runtime, and check the result there.

    python -m experiments.export --weights small --format savedmodel --output exports/small
    python -m experiments.export --weights runs/mpii/best.weights.h5 --format onnx --dtype int8 \\
        --images datasets/lsp/images --output exports/mpii_int8

savedmodel: float32, bfloat16; onnx: float32, int8; litert: float32, int8; openvino: float32, bfloat16. All but the
first need `pip install -e '.[export]'`; docs/export.md says how to use the results.

The written model is loaded again in its runtime and compared with the network on crops of `--images` (each whole
image as one person) or, without, of rendered people. Printed are the largest deviations over all crops and joints;
over the bound nothing is kept and the exit code is 2. `--lsp datasets/lsp` also prints PCK@0.2 on LSP's test half, of
the network and of the export.

Cost: 10 seconds to a minute, and with `--lsp` as much again for a small network, minutes for a full one. Expected:
float32 below 0.001 pixels of the crop; the others depend on the weights.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.command import run
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError

EXTENSIONS = (".jpg", ".jpeg", ".png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, metavar="FILE", help="weight file, or name of shipped weights")
    parser.add_argument("--format", required=True, choices=("savedmodel", "onnx", "litert", "openvino"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "int8"))
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new directory")
    parser.add_argument("--images", type=Path, metavar="DIR", help="photographs of people to compare and calibrate on")
    parser.add_argument("--crops", type=int, default=64, metavar="N", help="how many of them (default: 64)")
    parser.add_argument("--lsp", type=Path, metavar="DIR", help="score on the test half of LSP: joints.mat, images/")
    parser.add_argument("--force", action="store_true", help="replace an earlier export")
    options = parser.parse_args()
    if options.crops < 2:
        raise PoseError(f"--crops must be at least 2. Received: {options.crops}")
    if (options.format, options.dtype) == ("onnx", "int8") and not options.images:
        raise PoseError("ONNX in int8 is calibrated on photographs of people: --images DIR is needed.")

    from pose_regression.data import lsp
    from pose_regression.data.synthetic.crops import rendered_crops
    from pose_regression.inference.export import BOUNDS, export_model
    from pose_regression.inference.loaders import load_runtime
    from pose_regression.model.load import load_model

    people = lsp.load(options.lsp, "test") if options.lsp else []
    model, skeleton = load_model(options.weights)
    size = model.input_shape[1]
    crops = photographs(options.images, options.crops, size) if options.images else rendered_crops(options.crops, size)
    deviation = export_model(
        model, options.output, format=options.format, dtype=options.dtype, crops=crops, skeleton=skeleton,
        force=options.force,
    )  # fmt: skip
    bound = BOUNDS[options.dtype]
    megabytes = sum(file.stat().st_size for file in options.output.rglob("*") if file.is_file()) / 1e6
    print(f"{options.format} {options.dtype} in {options.output}, {megabytes:.1f} MB")
    print(
        f"largest deviation on {len(crops)} crops: {deviation.pixels:.5f} of {size} pixels (bound {bound.pixels:g}), "
        f"probability {deviation.probability:.6f} (bound {bound.probability:g})",
        flush=True,
    )
    if people:
        runtime = load_runtime(options.format, options.output)
        before, after = (pck(predict, people, size) for predict in (model.predict_on_batch, runtime))
        print(f"PCK@0.2 on LSP test, single crop: {before:.2f} network, {after:.2f} export, {after - before:+.2f}")


def pck(predict: Callable[[np.ndarray], dict[str, np.ndarray]], people: list[Sample], size: int) -> float:
    """PCK@0.2 in per cent of a network given as a function of its crops."""
    from pose_regression.data.pipeline import evaluation_dataset
    from pose_regression.evaluation.benchmarks import LSP
    from pose_regression.geometry import crop_affine, invert, transform_points

    affines = crop_affine(np.stack([person.center for person in people]), np.array([person.side for person in people]))
    dataset = evaluation_dataset([person.image for person in people], affines, size=size, batch_size=8)
    pose = np.concatenate([predict(batch.numpy())["pose"] for batch in dataset])
    return LSP.score(people, transform_points(invert(affines), pose.astype(np.float64)))["PCK"]


def photographs(directory: Path, count: int, size: int) -> np.ndarray:
    """(n, size, size, 3) in [-1, 1]: `count` images spread evenly over a folder's, or all, each as one person."""
    from PIL import Image

    from pose_regression.data.pipeline import evaluation_dataset
    from pose_regression.geometry import crop_affine

    if not directory.is_dir():
        raise PoseError(f"--images must be a folder of photographs. Received: {directory}")
    paths = sorted(path for path in directory.iterdir() if path.suffix.lower() in EXTENSIONS)
    if len(paths) < 2:
        raise PoseError(f"{directory} must hold at least 2 JPEG or PNG images. Found: {len(paths)}")
    paths = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, count).round().astype(int))]
    affines = []
    for path in paths:
        try:
            with Image.open(path) as image:
                affines.append(crop_affine(np.array(image.size) / 2, max(image.size)))
        except OSError as error:
            raise PoseError(f"{path} cannot be read as an image.") from error
    dataset = evaluation_dataset(paths, np.stack(affines), size=size, batch_size=8)
    return np.concatenate([batch.numpy() for batch in dataset])


if __name__ == "__main__":
    run(main)
