"""A page in the browser: drop a photograph, see everybody's pose in it and what the network made of each.

    python -m experiments.demo
    python -m experiments.demo --weights runs/synthetic/best.weights.h5 --port 8000 --max-upload-mb 5

Cost: seconds to start, then a fraction of a second for each photograph or box on a CPU. Open the address that it
prints; Ctrl-C ends it. Needs FastAPI and uvicorn: pip install -e '.[demo]'.

Only this machine can reach the page, and the page fetches nothing from elsewhere. --host 0.0.0.0 opens it to the
network, without a password: then each address may ask 60 times a minute. Photographs are kept in no file or log.
"""

import argparse

from experiments.command import run
from experiments.web import add_options, check_address, listen, upload_limit
from pose_regression.errors import PoseError
from pose_regression.quiet import unheard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, port=7860, megabytes=20)
    options = parser.parse_args()
    check_address(options.host, options.port, server="The page")
    max_bytes = upload_limit(options.max_upload_mb)
    # Importing TensorFlow takes seconds, and a mistake in the arguments should not wait for it.
    try:
        from pose_regression.inference.demo.app import create_page
    except ImportError as error:
        raise PoseError("The page needs FastAPI and uvicorn: pip install -e '.[demo]'.") from error
    from pose_regression.inference.people import find_detector
    from pose_regression.inference.predictor import PosePredictor

    unheard(find_detector, "auto")  # now, for nobody to wait for it; the page says where there is none
    app = create_page(PosePredictor(options.weights), max_bytes=max_bytes)
    listen(app, options.host, options.port, server="page")


if __name__ == "__main__":
    run(main)
