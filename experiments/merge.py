"""Put together what `--shard` took apart: predictions of `evaluate`, or poses of `predict`.

    python -m experiments.merge runs/part*/predictions.json --output runs/predictions.json
    python -m experiments.merge poses_*/poses.json --output poses.json

The order of the parts makes no difference: people come sorted by image. A person, or an image, that is in two parts is
an error. Whether any are missing, `evaluate --predictions` says. Cost: a second.
"""

import argparse
import json
from pathlib import Path

from experiments.command import run
from pose_regression.errors import PoseError
from pose_regression.evaluation.merging import merged
from pose_regression.files import atomic_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", type=Path, metavar="PART", help="predictions.json or poses.json")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the whole, .json")
    options = parser.parse_args()
    if options.output.exists():
        raise PoseError(f"{options.output} exists; choose another --output.")
    whole = merged(options.parts)
    with atomic_path(options.output) as temporary:
        temporary.write_text(json.dumps(whole, allow_nan=False), encoding="utf-8")
    print(f"{len(whole.get('people', whole.get('annotations', [])))} people, written to {options.output}.")


if __name__ == "__main__":
    run(main)
