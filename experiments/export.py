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
from pathlib import Path

from experiments.command import run
from pose_regression.data import lsp
from pose_regression.errors import PoseError


def main() -> None:
    options = parse()
    from pose_regression.data.synthetic.crops import rendered_crops
    from pose_regression.inference.export import BOUNDS, export_model
    from pose_regression.inference.loaders import load_runtime
    from pose_regression.inference.trials import pck_on_lsp, photograph_crops
    from pose_regression.model.load import load_model

    people = lsp.load(options.lsp, "test") if options.lsp else []
    model, skeleton = load_model(options.weights)
    size = model.input_shape[1]
    crops = (
        photograph_crops(options.images, options.crops, size) if options.images else rendered_crops(options.crops, size)
    )
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
        before, after = (pck_on_lsp(predict, people, size) for predict in (model.predict_on_batch, runtime))
        print(f"PCK@0.2 on LSP test, single crop: {before:.2f} network, {after:.2f} export, {after - before:+.2f}")


def parse() -> argparse.Namespace:
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
    return options


if __name__ == "__main__":
    run(main)
