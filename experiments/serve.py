"""A small HTTP server around one predictor: FastAPI, in one process.

    python -m experiments.serve
    python -m experiments.serve --weights runs/synthetic/best.weights.h5 --port 8600 --max-upload-mb 10

    curl -H "Content-Type: image/jpeg" --data-binary @photo.jpg "http://127.0.0.1:8600/predict?box=40,10,200,380"
    {"poses": [{"box": [40.0, 10.0, 200.0, 380.0], "joints": {"pelvis": {"x": 118.2, "y": 204.9, ...

Cost: seconds to start, then a fraction of a second for each box on a CPU. Ctrl-C ends it. http://127.0.0.1:8600/docs
describes it, and docs/serving.md has the limits and all answers. Needs pip install -e '.[serve]'.

Only this machine can reach the server. --host 0.0.0.0 opens it to the network, without a password: then each other
address may ask 30 times a minute. Photographs are kept in no file or log.
"""

import argparse

import numpy as np

from experiments.command import run
from experiments.web import add_options, check_address, listen, upload_limit
from pose_regression.errors import PoseError
from pose_regression.inference.limits import PER_MINUTE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, port=8600, megabytes=10)
    parser.add_argument(
        "--per-minute", type=int, default=PER_MINUTE, metavar="N",
        help=f"requests of each address but this machine's own (default: {PER_MINUTE})",
    )  # fmt: skip
    options = parser.parse_args()
    check_address(options.host, options.port, server="The server")
    max_bytes = upload_limit(options.max_upload_mb)
    if options.per_minute < 1:
        raise PoseError(f"--per-minute must be at least 1. Received: {options.per_minute}")
    try:
        from pose_regression.inference.server import create_app
    except ImportError as error:
        raise PoseError("The server needs FastAPI and uvicorn: pip install -e '.[serve]'.") from error
    from pose_regression.inference.predictor import PosePredictor

    predictor = PosePredictor(options.weights)
    black = np.zeros((64, 64, 3), np.uint8)  # the first answers are slow, the detector's and the network's
    predictor.predict(black)
    predictor.predict(black, boxes=[[0, 0, 64, 64]])
    app = create_app(predictor, max_bytes=max_bytes, per_minute=options.per_minute)
    listen(app, options.host, options.port, server="server")


if __name__ == "__main__":
    run(main)
