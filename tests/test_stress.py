"""What the stress programs themselves rely on."""

import numpy as np
from stress import torture_resume

from pose_regression.container import write_container


def test_torture_sees_a_single_different_bit(tmp_path):
    for name, value in (("a", 1.0), ("b", np.nextafter(1.0, 2.0))):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("state-00001-0000000.h5", "best.weights.h5", "last.weights.h5"):
            write_container(folder / file, {"x": np.array([value if file.startswith("state") else 0.0])}, {"epoch": 1})
        (folder / "history.csv").write_text("epoch\n1\n")
    assert torture_resume.differences(tmp_path / "a", tmp_path / "a") == []
    assert torture_resume.differences(tmp_path / "a", tmp_path / "b") == ["state-00001-0000000.h5: x differs"]
