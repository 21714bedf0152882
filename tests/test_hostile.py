"""What no file, download or photograph may do; the rest is in the tests of each module (`docs/reliability.md`)."""

import importlib
import json
import pickle
import re
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from PIL import Image
from test_data_mpii import write_h5

from experiments.report import read_run
from pose_regression.container import BLOCK, sealed
from pose_regression.data import images, mpii, synthetic
from pose_regression.errors import PoseError
from pose_regression.evaluation.predictions import load_predictions
from pose_regression.inference.limits import is_local
from pose_regression.inference.loaders import load_runtime
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.load import load_model
from pose_regression.skeleton import MPII
from pose_regression.training.experiment import read_options

ROOT = Path(__file__).parents[1]


# ------------------------------------------------------------------------------------------------------ image bombs


def png(width: int, height: int, pixels: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """Grey, 8 bits; `more` chunks before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def text_bomb(megabytes: int) -> tuple[bytes, bytes]:
    return b"zTXt", b"Comment\0\0" + zlib.compress(bytes(megabytes << 20), 9)


def profile_bomb(megabytes: int) -> tuple[bytes, bytes]:
    return b"iCCP", b"it\0\0" + zlib.compress(bytes(megabytes << 20), 9)


def announced(kind: str, side: int, folder: Path) -> bytes:
    """A small picture whose header announces `side` x `side` pixels."""
    path = folder / f"small.{kind}"
    Image.new("L", (8, 8)).save(path)
    content = path.read_bytes()
    if kind == "gif":
        return content[:6] + struct.pack("<HH", side, side) + content[10:]
    if kind == "bmp":
        return content[:18] + struct.pack("<ii", side, side) + content[26:]
    places = [content.index(struct.pack("<HHII", tag, 4, 1, 8)) for tag in (256, 257)]
    for place in places:  # TIFF
        content = content[: place + 8] + struct.pack("<I", side) + content[place + 12 :]
    return content


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "tiff"])
def test_a_header_of_2500_million_pixels_is_refused_by_predictor_and_training(predictor, tmp_path, kind):
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(png(50_000, 50_000, b"\0") if kind == "png" else announced(kind, 50_000, tmp_path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PoseError, match=f"bomb.{kind} (has|announces) "):
        predictor.predict(path, people="whole")
    said = images.find_broken([path])[str(path)]
    assert said.startswith("has 50000 x 50000 pixels" if kind == "png" else "is neither a JPEG nor a PNG")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


READ_ALL = """
import resource, sys
from pose_regression.data.images import find_broken
from pose_regression.errors import PoseError
from pose_regression.inference.photographs import load_upright
good, *bombs = sys.argv[1:]
find_broken([good]), load_upright(good)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in bombs:
    print("training", find_broken([path]))
    try:
        print("predict", load_upright(path).shape)
    except PoseError as error:
        print("predict", error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_what_inflates_a_thousandfold_is_not_inflated(tmp_path):
    """Pixels, text and colour profile of 8 x 8 pixels: refused, or read without them."""
    (tmp_path / "good.png").write_bytes(png(8, 8, bytes(72)))
    (tmp_path / "pixels.png").write_bytes(png(8, 8, bytes(100 << 20)))
    (tmp_path / "text.png").write_bytes(png(8, 8, bytes(72), text_bomb(100)))
    (tmp_path / "texts.png").write_bytes(png(8, 8, bytes(72), *[text_bomb(2)] * 50))
    (tmp_path / "profile.png").write_bytes(png(8, 8, bytes(72), profile_bomb(100)))
    names = ["good.png", "pixels.png", "text.png", "texts.png", "profile.png"]
    assert max((tmp_path / name).stat().st_size for name in names) < 1 << 18
    done = subprocess.run([sys.executable, "-c", READ_ALL, *names], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *answers, grown = done.stdout.splitlines()
    assert len(answers) == 2 * (len(names) - 1) and int(grown) < 60, done.stdout
    for name, predicted in zip(names[1:], answers[1::2], strict=True):
        assert predicted == "predict (8, 8, 3)" or predicted.startswith(f"predict {name} "), predicted


# ------------------------------------------------------------------------------------------- JSON, HDF5, `.keras`


def test_deep_json_of_predictions_is_one_sentence(tmp_path):
    (tmp_path / "deep.json").write_text('{"joints":' * 100_000)
    with pytest.raises(PoseError, match="deep.json is not a file of predictions"):
        load_predictions(tmp_path / "deep.json", MPII)


def test_deep_json_of_a_run_and_of_an_export_is_one_sentence(tmp_path):
    for name in ("options.json", "model.json", "synthetic.json"):
        (tmp_path / name).write_text('{"options":' * 100_000)
    (tmp_path / "history.csv").write_text("epoch,score\n1,2\n")
    for read, said in (
        (lambda: read_options(tmp_path / "options.json"), "options.json is not"),
        (lambda: read_run(tmp_path), "options.json is not JSON"),
        (lambda: load_runtime("onnx", tmp_path), "model.json is missing or damaged"),
        (lambda: synthetic.write(tmp_path, train=1, validation=1), "holds something else than synthetic people"),
    ):
        with pytest.raises(ValueError, match=said):
            read()


def test_numbers_outside_of_valid_h5_are_refused(tmp_path):
    write_h5(tmp_path / "other.h5")
    (tmp_path / "raw").write_bytes(bytes(16))
    for name in ("storage", "virtual"):
        with h5py.File(write_h5(tmp_path / f"{name}.h5"), "a") as file:
            del file["scale"]
            if name == "storage":
                file.create_dataset("scale", (2,), "f8", external=[(str(tmp_path / "raw"), 0, 16)])
            else:
                layout = h5py.VirtualLayout((2,), "f8")
                layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "scale", (2,))
                file.create_virtual_dataset("scale", layout)
        with pytest.raises(PoseError, match=f"{name}.h5 .*scale is not stored in the file itself"):
            mpii.read_validation_h5(tmp_path / f"{name}.h5")


class Harmful:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_in_hdf5_are_never_loaded(tmp_path):
    content = np.void(pickle.dumps(Harmful(tmp_path / "executed")))
    with h5py.File(tmp_path / "predictions.h5", "w") as file:
        file["preds"] = content
    with pytest.raises(PoseError, match="predictions.h5"):
        load_predictions(tmp_path / "predictions.h5", MPII)
    with h5py.File(tmp_path / "a.weights.h5", "w", userblock_size=BLOCK) as file:
        file["metadata"] = np.frombuffer(json.dumps({"kind": "weights"}).encode(), np.uint8)
        file["arrays/stem/conv_1/kernel"] = content
    (tmp_path / "a.weights.h5").write_bytes(sealed((tmp_path / "a.weights.h5").read_bytes()))
    with pytest.raises(PoseError, match="a.weights.h5"):
        load_model(tmp_path / "a.weights.h5")
    assert not (tmp_path / "executed").exists()


def lambda_file(path: Path, executed: Path) -> None:
    """A `.keras` file with code in a Lambda layer, which leaves a file behind where it is called."""
    target = str(executed)
    keras.Sequential(
        [keras.Input((1,)), keras.layers.Lambda(lambda x: (open(target, "w", encoding="utf-8").close(), x)[1])]
    ).save(path)
    executed.unlink()


def pickle_file(path: Path, executed: Path) -> None:
    """A `.keras` file whose weights are a pickle in NumPy's archive."""
    keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]).save(path.with_stem("whole"))
    np.savez(path.with_suffix(".npz"), weights=np.array([Harmful(executed)], object))
    with zipfile.ZipFile(path.with_stem("whole")) as whole, zipfile.ZipFile(path, "w") as file:
        for name in ("metadata.json", "config.json"):
            file.writestr(name, whole.read(name))
        file.write(path.with_suffix(".npz"), "model.weights.npz")


@pytest.mark.parametrize("write", [lambda_file, pickle_file])
def test_code_in_a_keras_file_is_not_run(tmp_path, write):
    path, executed = tmp_path / "hostile.keras", tmp_path / "executed"
    write(path, executed)
    for load in (load_model, PosePredictor):
        with pytest.raises(PoseError, match="hostile.keras is no .keras file that can be read|holds no PoseRegressor"):
            load(path)
    with pytest.raises(Exception, match="unsafe|allow_pickle|Lambda|[Oo]bject arrays|could not be loaded"):
        keras.saving.load_model(path)
    assert not executed.exists()


@pytest.mark.filterwarnings("ignore:Skipping invalid path")
def test_members_of_a_keras_file_cannot_leave_the_folder(tmp_path):
    """Nothing of ours unpacks an archive; Keras reads the members that it knows by name."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.save(inner / "it.keras")
    with zipfile.ZipFile(inner / "it.keras", "a") as file:
        file.writestr("../escaped", "x")
        file.writestr("assets/../../../escaped", "x")
    before = set(tmp_path.rglob("*"))
    keras.saving.load_model(inner / "it.keras")
    assert set(tmp_path.rglob("*")) == before


# ---------------------------------------------------------------------------------------------------- the source


FORBIDDEN = (
    r"\b(c?pickle|cloudpickle|dill|joblib|marshal|shelve)\b",
    r"safe_mode\s*=\s*False",
    r"enable_unsafe_deserialization",
    r"allow_pickle\s*=\s*True",
    r"(?<![\w.])(eval|exec|__import__)\(",
    r"yaml\.(unsafe_|full_)?load",
    r"os\.(system|popen)",
    r"shell\s*=\s*True",
    r"extractall|unpack_archive|extract\s*=\s*True",
    r"_create_unverified_context|CERT_NONE|verify\s*=\s*False",
    r"\bmktemp\(",
)


def test_nothing_dangerous_is_in_the_source():
    files = [*ROOT.glob("pose_regression/**/*.py"), *ROOT.glob("experiments/*.py"), ROOT / "setup.py"]
    assert len(files) > 50
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for pattern in FORBIDDEN
        if re.search(pattern, line)
    ]
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "load(p, safe_mode=False)", "np.load(p, allow_pickle = True)", "x = eval(text)", "exec(code)",
        "yaml.load(f)", "os.system('ls')", "run(c, shell=True)", "tar.extractall(to)", "ssl.CERT_NONE",
    ],
)  # fmt: skip
def test_what_is_dangerous_would_be_found(line):
    assert any(re.search(pattern, line) for pattern in FORBIDDEN)


# ---------------------------------------------------------------------------------------------------- the servers


@pytest.mark.parametrize("name", ["demo", "serve"])
def test_servers_listen_to_this_machine_alone_unless_told_otherwise(name, monkeypatch):
    module = importlib.import_module(f"experiments.{name}")
    asked = []

    def check(host: str, port: int, **_) -> None:
        asked.append(host)
        raise PoseError("enough")

    monkeypatch.setattr(module, "check_address", check)
    monkeypatch.setattr(sys, "argv", [name])
    with pytest.raises(PoseError, match="enough"):
        module.main()
    assert asked == ["127.0.0.1"] and is_local(asked[0])
