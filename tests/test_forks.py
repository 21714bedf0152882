"""A predictor in a process that was forked says so at once."""

import os

import pytest

from pose_regression.errors import PoseError
from pose_regression.forks import check_process
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.load import load_model
from pose_regression.model.network import PoseRegressor


@pytest.fixture(scope="module")
def predictor() -> PosePredictor:
    return PosePredictor(PoseRegressor((32, 32, 3), num_joints=16, num_blocks=1, width=18))


USES = {
    "predict": lambda predictor: predictor.predict("no picture"),
    "inspect": lambda predictor: predictor.inspect("no picture"),
    "a new predictor": lambda predictor: PosePredictor(predictor.model),
    "load_model": lambda predictor: load_model("no weights"),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_forked_process_is_told_and_does_not_hang(predictor, use):
    check_process()  # this one is its home
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            use(predictor)
        except PoseError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as file:
        assert file.read().startswith("This process was forked from one that had a network already")
