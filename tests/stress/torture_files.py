"""Damage every kind of file that the project writes or reads, and count what the loaders make of it.

    python -m tests.stress.torture_files
    python -m tests.stress.torture_files --flips 5 --truncations 5 --mutations 20 --images 20

What the project writes and reads back gets one-bit flips and truncations: it must be refused, or give what the whole
file gives (a flip may fall where nothing is read, such as a date in a zip archive). A damaged crop of `--cache` is
made again. What comes from elsewhere is mutated: bits, bytes and pieces changed, removed, doubled and inserted, and
tokens of text replaced by huge numbers, other types and nesting. It must be refused, or be a file that can be read.
Pictures have no checksum: whatever decodes is read.

Refused is a `PoseError` that names the file; of `.keras`, which Keras alone reads, any exception. Silent is content
other than the original's. Everything else is a failure: other exceptions, a dead process, more than 10 seconds of
processor time or 300 of silence, more than 1 GB of memory (TensorFlow included).

Files are small and generated. Each kind is read by a process of its own, forked from this one and replaced when it
dies. About 3 minutes of processor time. Prints a Markdown table, and exit code 1 if anything was silent or failed.
"""

import argparse
import io
import json
import logging
import multiprocessing
import os
import random
import re
import resource
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image
from scipy.io import loadmat, savemat

from experiments.command import run
from pose_regression.data import coco, lsp, mpii, synthetic
from pose_regression.data.augment import PAPER, plan_epoch
from pose_regression.data.cache import prepare_crops
from pose_regression.data.images import find_broken
from pose_regression.data.pipeline import training_dataset
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation.predictions import Predictions, load_predictions, save_predictions
from pose_regression.inference.boxes import read_boxes
from pose_regression.inference.photographs import load_upright
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.backbone import block_b
from pose_regression.model.load import load_model
from pose_regression.model.network import DEFAULTS, PoseRegressor, answers
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import MPII, PA16J
from pose_regression.training.checkpoint import load_state, save_state

LONGEST = 10.0
"""Seconds of processor time for one file."""
SILENCE = 300.0
"""Seconds without an answer: longer, as the machine may have other work."""
MOST_MEMORY = 1024
"""MB of resident memory."""
ADDRESS_SPACE = 4 << 30
"""Bytes that a process may reserve beyond what it has before it reads the first file."""
SHOWN = 5
"""Failures of a row that are described."""

REFUSED, READ, SILENT = "refused", "read", "silent"

Judge = Callable[[Sequence[Path]], list[str]]
Damage = Callable[[bytes, random.Random], bytes]
Make = Callable[[Path], "Subject"]
"""Writes whole files into a folder."""


@dataclass(frozen=True)
class Subject:
    """Whole files of one kind, and what judges damaged ones."""

    originals: Sequence[tuple[Path, bytes]]
    """Where a damaged copy is put, and the whole file's content; taken in turn."""
    judge: Judge
    """Says of each file `REFUSED`, `READ`, `SILENT`, or what went wrong."""
    at_once: int = 1
    """Files to judge in one call; then they are numbered and lie beside the original's place."""


@dataclass
class Row:
    """What became of the files of one kind and damage."""

    kind: str
    damage: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((REFUSED, READ, SILENT, "failed"), 0))
    slowest: float = 0.0
    peak: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, index: int, outcome: str) -> None:
        """Count one file."""
        key = outcome if outcome in self.counts else "failed"
        self.counts[key] += 1
        if key in (SILENT, "failed"):
            self.problems.append(f"{self.kind}, {self.damage} {index}: {outcome}")

    def __str__(self) -> str:
        numbers = [sum(self.counts.values()), *self.counts.values()]
        cells = [self.kind, self.damage, *map(str, numbers), f"{self.slowest:.2f}", str(self.peak)]
        return f"| {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=200, metavar="N", help="of one bit, for each kind (default: 200)")
    parser.add_argument("--truncations", type=int, default=100, metavar="N", help="for each kind (default: 100)")
    parser.add_argument(
        "--mutations", type=int, default=1000, metavar="N", help="of each kind from elsewhere (default: 1000)"
    )
    parser.add_argument("--images", type=int, default=2000, metavar="N", help="mutated JPEG and PNG (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default: 0)")
    options = parser.parse_args()
    if min(options.flips, options.truncations, options.mutations, options.images) < 0:
        raise PoseError("--flips, --truncations, --mutations and --images must be at least 0.")
    print("| kind | damage | files | refused | read correctly | silent | failed | slowest, s | peak memory, MB |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    damaged: list[tuple[str, Damage, int]] = [
        ("flip", flip, options.flips),
        ("truncation", truncate, options.truncations),
    ]
    jobs: list[tuple[dict[str, Make], list[tuple[str, Damage, int]]]] = [
        (WRITTEN, damaged),
        (TEXTS, [("mutation", mutate_text, options.mutations)]),
        (BINARIES, [("mutation", mutate, options.mutations)]),
        (PICTURES, [("mutation", mutate, options.images)]),
    ]
    problems = []
    for kinds, damages in jobs:
        for kind, make in kinds.items():
            for row in torture(kind, make, damages, seed=options.seed):
                problems += row.problems[:SHOWN]
                print(row, flush=True)
    print("\n".join(["", *problems] if problems else ["", "Nothing silent, nothing failed."]))
    return 1 if problems else 0


# --------------------------------------------------------------------------------------------------------- processes


def torture(kind: str, make: Make, damages: Sequence[tuple[str, Damage, int]], *, seed: int = 0) -> list[Row]:
    """Read damaged files of one kind, in processes of their own.

    Args:
        kind: of the files, for the table.
        make: called in each process.
        damages: name, damage and number of files.
        seed: of the damage.

    Returns:
        A row for each of `damages`.

    Raises:
        PoseError: the whole files themselves could not be read.
    """
    rows = [Row(kind, name) for name, _, _ in damages]
    files = [(row, damage, i) for row, (_, damage, count) in zip(rows, damages, strict=True) for i in range(count)]
    context = multiprocessing.get_context("fork")
    while files:
        with tempfile.TemporaryDirectory() as folder:
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(there, make, Path(folder), files, seed))
            process.start()
            there.close()
            files = _listen(here, process, files)
            process.kill()
            process.join()
    return rows


File = tuple[Row, Damage, int]


def _listen(here: Connection, process: Any, files: list[File]) -> list[File]:
    """Count what the process says until it ends; the files that are left, without those it died of."""
    at_once = 0
    try:
        while here.poll(SILENCE):
            message = here.recv()
            if isinstance(message, str):
                raise PoseError(f"{files[0][0].kind}: the whole files could not be made and read:\n{message}")
            if isinstance(message, int):
                at_once = message
                continue
            outcomes, seconds, peak = message
            for (row, _, index), outcome in zip(files, outcomes, strict=False):
                row.slowest, row.peak = max(row.slowest, seconds), max(row.peak, peak)
                too_much = f"{seconds:.1f} s" if seconds > LONGEST else f"{peak} MB" if peak > MOST_MEMORY else None
                row.add(index, too_much or outcome)
            files = files[len(outcomes) :]
            if not files or peak > MOST_MEMORY:  # so it will remain
                return files
        reason = f"no answer in {SILENCE:g} s"
    except EOFError:
        process.join()
        reason = f"the process died ({process.exitcode})"
    if not at_once:
        raise PoseError(f"{files[0][0].kind}: the whole files could not be made and read: {reason}.")
    for row, _, index in files[:at_once]:
        row.add(index, reason)
    return files[at_once:]


def _work(there: Connection, make: Make, folder: Path, files: list[File], seed: int) -> None:
    """In the other process: say how many files come at once, then what became of them."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    logging.disable()
    try:
        subject = make(folder)
        outcomes = subject.judge([path for path, _ in subject.originals])
        if set(outcomes) != {READ}:
            raise PoseError(f"The whole files are judged {outcomes}.")
    except BaseException:
        there.send(traceback.format_exc())
        return
    reserved = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (reserved + ADDRESS_SPACE,) * 2)
    for start in range(0, len(files), subject.at_once):
        paths = []
        for row, damage, index in files[start : start + subject.at_once]:
            path, content = subject.originals[index % len(subject.originals)]
            paths.append(path if subject.at_once == 1 else path.with_stem(f"{path.stem}_{index}"))
            paths[-1].write_bytes(damage(content, random.Random(f"{seed} {row.damage} {index}")))
        there.send(len(paths))
        before = _processor_time()
        outcomes = subject.judge(paths)
        there.send((outcomes, (_processor_time() - before) / len(paths), _peak_memory()))
        if subject.at_once > 1:
            for path in paths:
                path.unlink()


def _usage() -> list[resource.struct_rusage]:
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def _processor_time() -> float:
    """Seconds, of this process and those it waited for."""
    return sum(usage.ru_utime + usage.ru_stime for usage in _usage())


def _peak_memory() -> int:
    """MB, of this process or the largest that it waited for."""
    return max(usage.ru_maxrss for usage in _usage()) // 1024


# ------------------------------------------------------------------------------------------------------------ damage


def flip(content: bytes, rng: random.Random) -> bytes:
    """One bit changed."""
    damaged, place = bytearray(content), rng.randrange(8 * len(content))
    damaged[place // 8] ^= 1 << place % 8
    return bytes(damaged)


def truncate(content: bytes, rng: random.Random) -> bytes:
    """The end cut off."""
    return content[: rng.randrange(len(content))]


def mutate(content: bytes, rng: random.Random) -> bytes:
    """One to three changes of bits, bytes or pieces."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        content = _mutate_once(content, rng) or b"\0"
    return content


def _mutate_once(content: bytes, rng: random.Random) -> bytes:
    data, a = bytearray(content), rng.randrange(len(content))
    if rng.random() < 0.3:  # where headers are
        a = rng.randrange(min(256, len(content)))
    b = min(len(data), a + rng.choice((1, 2, 4, 16, 200, len(data))))
    match rng.randrange(7):
        case 0:
            data[a] ^= 1 << rng.randrange(8)
        case 1:
            data[a:b] = rng.randbytes(b - a)[: len(data)]
        case 2:
            data[a:b] = bytes([rng.choice((0, 0x7F, 0x80, 0xFF))]) * min(b - a, 8)
        case 3:
            del data[a:b]
        case 4:
            data[a:a] = rng.randbytes(rng.choice((1, 4, 100)))
        case 5:  # a piece of it elsewhere
            to = rng.randrange(len(data))
            data[to : to + rng.choice((0, b - a))] = data[a:b]
        case 6:
            del data[a:]
    return bytes(data)


_TOKEN = re.compile(rb'"[^"]*"|[-+.\w]+|[^\w\s]|\n')
_ODD = (
    b"0", b"-1", b"7", b"1e308", b"1e400", b"-1e-400", b"9" * 30, b"9" * 400, b"9" * 5000, b"0x10", b"NaN",
    b"null", b"true", b'""', b'"nose"', b'"\\ud800"', b'"\\u0000"', b'"../a"', b'"' + b"x" * 300 + b'"', b"\xff\xfe",
    b"[]", b"{}", b"[[]]", b'{"id": 1}', b"[" * 5000, b"[" * 100_000, b'{"a":' * 5000, b"[" * 50 + b"]" * 50, b",",
    b":", b"-Infinity", b"\n", b"\r", b"\0", b'"', b"nan", b"inf", b"left_knee", b"swap",
)  # fmt: skip


def mutate_text(content: bytes, rng: random.Random) -> bytes:
    """One to three tokens replaced, removed, doubled or exchanged; now and then as `mutate`."""
    if rng.random() < 0.2:
        return mutate(content, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = [match.span() for match in _TOKEN.finditer(content)]
        (a, b), (c, d) = sorted((rng.choice(places), rng.choice(places)))
        match rng.randrange(5):
            case 0 | 1:
                content = content[:a] + rng.choice(_ODD) + content[b:]
            case 2:
                content = content[:a] + content[b:]
            case 3:
                content = content[:b] + content[a:b] + content[b:]
            case 4 if b <= c:
                content = content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]
    return content


# ------------------------------------------------------------------------------------------------------------- judges


def _by(check: Callable[[Path], str], refusals: tuple[type[Exception], ...] = (PoseError,)) -> Judge:
    """Judge each file by what `check` says, or raises."""

    def judge(paths: Sequence[Path]) -> list[str]:
        return [_outcome(path, check, refusals) for path in paths]

    return judge


def _outcome(path: Path, check: Callable[[Path], str], refusals: tuple[type[Exception], ...]) -> str:
    try:
        return check(path)
    except refusals as error:
        if refusals == (PoseError,) and (path.name not in str(error) or "\n" in str(error)):
            return f"not one sentence that names the file: {error}"
        return REFUSED
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"


def _unchanged(
    read: Callable[[Path], Any], expected: dict[Path, Any], refusals: tuple[type[Exception], ...] = (PoseError,)
) -> Judge:
    """Judge files that must give what they gave when they were whole."""
    return _by(lambda path: READ if _equal(read(path), expected[path]) else SILENT, refusals)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


def _usable(samples: Sequence[Sample]) -> str:
    """Whether samples are what a training can take."""
    for sample in samples:
        numbers = [*sample.center, sample.side]
        if not (np.isfinite(numbers).all() and sample.side > 0 and sample.joints.ndim == 2):
            return f"a sample has center {sample.center}, side {sample.side}, joints {sample.joints.shape}"
    return READ


# --------------------------------------------------------------------------------------- what the project writes


def training_state(folder: Path) -> Subject:
    """As a training keeps, of a network of one layer."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(20)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    path = save_state(folder, model, {"epoch": 1, "batch": 2})

    def read(path: Path) -> Any:
        return load_state(path.parent, model), [keras.ops.convert_to_numpy(v) for v in model.variables]

    return Subject([(path, path.read_bytes())], _unchanged(read, {path: read(path)}))


def _network() -> PoseRegressor:
    keras.utils.set_random_seed(0)
    return PoseRegressor((32, 32, 3), num_blocks=1, num_context=1, width=16)


def weight_file(folder: Path) -> Subject:
    """Of the smallest network."""
    path = folder / "a.weights.h5"
    save_weights(_network(), path)

    def read(path: Path) -> Any:
        model, skeleton = load_model(path)
        return model.get_weights(), model.get_config(), skeleton

    return Subject([(path, path.read_bytes())], _unchanged(read, {path: read(path)}))


def keras_file(folder: Path) -> Subject:
    """A network's last block and regression stage, as `model.save` writes them; whole networks load slowly."""
    policy = keras.dtype_policies.get("float32")
    features = keras.Input((4, 4, 8))
    maps = block_b((4, 4, 8), 5, 32, policy, last=True, name="block_b_1")(features)
    path = folder / "a.keras"
    keras.Model(features, answers([maps], DEFAULTS | {"num_context": 1}, "last")).save(path)

    def read(path: Path) -> Any:
        model = keras.saving.load_model(path, safe_mode=True)
        return model.get_weights(), json.dumps(model.get_config(), sort_keys=True, default=str)

    return Subject([(path, path.read_bytes())], _unchanged(read, {path: read(path)}, (Exception,)))


def crop_cache(folder: Path) -> Subject:
    """Prepared crops; a damaged one must be as before after the next start."""
    image, people = synthetic.render(3, size=(160, 128))
    Image.fromarray(image).save(folder / "a.jpg")
    joints = people[0].joints
    samples = [
        Sample(str(folder / "a.jpg"), np.array([80.0, 64.0]), side, joints, np.ones(len(joints), bool))
        for side in (40.0, 60.0, 90.0)
    ]
    cache = folder / "cache"
    of_path = {
        Path(prepared.image): sample
        for prepared, sample in zip(prepare_crops(samples, cache), samples, strict=True)
    }  # fmt: skip

    def read(path: Path) -> Any:
        (prepared,) = prepare_crops([of_path[path]], cache)
        return prepared.image, path.read_bytes()

    expected = {path: read(path) for path in of_path}
    return Subject([(path, path.read_bytes()) for path in of_path], _unchanged(read, expected))


def predictions_file(suffix: str, folder: Path) -> Subject:
    """Of twelve people."""
    rng = np.random.default_rng(0)
    images, people = tuple(f"{i // 2:04d}.jpg" for i in range(12)), tuple(i % 2 for i in range(12))
    path = folder / f"predictions{suffix}"
    save_predictions(path, Predictions(MPII, rng.random((12, 16, 2)) * 200, rng.random((12, 16)), images, people))

    def read(path: Path) -> Any:
        found = load_predictions(path, MPII)
        return found.pixels, found.probability, found.images, found.people

    return Subject([(path, path.read_bytes())], _unchanged(read, {path: read(path)}))


# -------------------------------------------------------------------------------------- what comes from elsewhere


def _both(path: Path, content: dict[str, Any]) -> list[tuple[Path, bytes]]:
    """A MATLAB file compressed, and every twentieth time not: then each is read in a process of its own."""
    contents = []
    for compressed in (True, False):
        buffer = io.BytesIO()
        savemat(buffer, content, do_compression=compressed)
        contents.append(buffer.getvalue())
    return [(path, contents[0])] * 19 + [(path, contents[1])]


def lsp_joints(folder: Path) -> Subject:
    """`joints.mat` of four pictures in LSPET's layout; LSP's is read by the same function."""
    (folder / "images").mkdir()
    for i in range(1, 5):
        Image.new("RGB", (60, 80)).save(folder / "images" / f"im{i:05d}.jpg")
    joints = np.random.default_rng(0).uniform(0, 60, (14, 3, 4))
    joints[:, 2] = 1
    originals = _both(folder / "joints.mat", {"joints": joints})
    originals[0][0].write_bytes(originals[0][1])
    return Subject(originals, _by(lambda path: _usable(lsp.load_extended(path.parent))))


def mpii_release(folder: Path) -> Subject:
    """The official file's layout, of rendered people."""
    synthetic.write(folder / "data", train=3, validation=1)
    path = folder / "data" / synthetic.RELEASE_FILE
    originals = _both(path, {"RELEASE": loadmat(path)["RELEASE"]})

    def check(path: Path) -> str:
        return _usable([sample for split in mpii.read_release(path).values() for sample in split])

    return Subject(originals, _by(check))


def mpii_validation(folder: Path) -> Subject:
    """`valid.h5` of rendered people."""
    synthetic.write(folder / "data", train=1, validation=3)
    path = folder / "data" / "annot" / "valid.h5"
    return Subject([(path, path.read_bytes())], _by(lambda path: _usable(mpii.read_validation_h5(path))))


def coco_annotations(folder: Path) -> Subject:
    """Four people in two pictures."""
    pictures = [{"id": i, "file_name": f"{i}.jpg", "width": 60, "height": 80} for i in (1, 2)]
    for picture in pictures:
        Image.new("RGB", (60, 80)).save(folder / str(picture["file_name"]))
    person = {"category_id": 1, "iscrowd": 0, "bbox": [5, 6.5, 40, 60], "keypoints": [10, 20, 2, 30.5, 40, 1, 0, 0, 0]}
    category = {"id": 1, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"], "skeleton": [[1, 2], [1, 3]]}
    people = [person | {"id": i, "image_id": i % 2 + 1} for i in range(4)]
    path = folder / "coco.json"
    path.write_text(json.dumps({"images": pictures, "annotations": people, "categories": [category]}), encoding="utf-8")

    def check(path: Path) -> str:
        return _usable(coco.load(path, path.parent).samples)

    return Subject([(path, path.read_bytes())], _by(check))


def coco_detections(folder: Path) -> Subject:
    """As `predict --boxes` takes them: a list, and an object with pictures' names."""
    found = [
        {"image_id": i % 2 + 1, "category_id": 1, "bbox": [i, 2.5, 30, 40.25], "score": 0.25 + i / 5} for i in range(4)
    ]
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2)]
    path = folder / "boxes.json"
    contents = [json.dumps(found).encode(), json.dumps({"images": images, "annotations": found}).encode()]
    path.write_bytes(contents[0])

    def check(path: Path) -> str:
        boxes = read_boxes(path, min_score=0.5)
        every = [box for people in boxes.people.values() for box in people.boxes]
        right = all(len(box) == 4 and all(type(x) is float for x in box) for box in every)
        return READ if right else f"boxes {boxes}"

    return Subject([(path, content) for content in contents], _by(check))


def _pictures(folder: Path) -> list[tuple[Path, bytes]]:
    """JPEG and PNG of several pixel formats, in turn."""
    image = Image.fromarray(synthetic.render(5, size=(96, 80))[0])
    kinds: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("jpg", image, {"quality": 85}), ("png", image, {}), ("jpg", image, {"progressive": True}),
        ("png", image.convert("P"), {}), ("jpg", image.convert("L"), {}), ("png", image.convert("RGBA"), {}),
        ("jpg", image.convert("CMYK"), {}), ("png", image.convert("1"), {}),
    ]  # fmt: skip
    files = []
    for i, (suffix, picture, options) in enumerate(kinds):
        path = folder / f"{i}.{suffix}"
        picture.save(path, **options)
        files.append((path, path.read_bytes()))
    return files


def pictures_in_training(folder: Path) -> Subject:
    """What `find_broken` passes must go through the training input."""

    def judge(paths: Sequence[Path]) -> list[str]:
        broken = find_broken(paths)
        joints = np.random.default_rng(0).uniform(0, 80, (16, 2))
        samples = [Sample(str(p), np.array([48.0, 40.0]), 80.0, joints, np.ones(16, bool)) for p in paths]
        outcomes = {str(path): REFUSED for path in paths}
        sound = [sample for sample in samples if sample.image not in broken]
        if sound:
            plan = plan_epoch(sound, PA16J, seed=0, epoch=0, augmentation=PAPER)
            outcomes |= _train(plan)
        return [outcomes[str(path)] for path in paths]

    return Subject(_pictures(folder), judge, at_once=100)


def _train(plan: Any) -> dict[str, str]:
    """What becomes of each image of the plan."""
    outcomes: dict[str, str] = {}
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in plan.image]
    while len(outcomes) < len(names):
        try:
            for image, _ in training_dataset(plan, size=32, batch_size=1, first_batch=len(outcomes)):
                low, high = float(np.min(image)), float(np.max(image))
                fits = -1.001 <= low and high <= 1.001
                outcomes[names[len(outcomes)]] = READ if fits else f"pixels from {low} to {high}"
        except Exception as error:
            outcomes[names[len(outcomes)]] = f"passed the check, but in training {type(error).__name__}: {error}"
    return outcomes


def pictures_in_predict(folder: Path) -> Subject:
    """Crops through the network as `predict` takes them, and the whole picture for its overlay."""
    predictor = PosePredictor(_network())

    def judge(paths: Sequence[Path]) -> list[str]:
        errors: dict[int, PoseError] = {}
        try:
            found = list(predictor.stream(paths, people="whole", on_error=errors.__setitem__))
        except Exception as error:
            return [f"{type(error).__name__}: {error}"] * len(paths)
        return [_outcome(path, partial(check, errors.get(i), found[i]), (PoseError,)) for i, path in enumerate(paths)]

    def check(error: PoseError | None, people: list, path: Path) -> str:
        if error is not None:
            raise error
        load_upright(path)
        return READ if len(people) == 1 and np.isfinite(people[0].pixels).all() else f"poses {people}"

    return Subject(_pictures(folder), judge, at_once=100)


WRITTEN: dict[str, Make] = {
    "training state": training_state,
    "weights": weight_file,
    "`.keras`": keras_file,
    "crop of `--cache`": crop_cache,
    "predictions `.json`": partial(predictions_file, ".json"),
    "predictions `.h5`": partial(predictions_file, ".h5"),
    "predictions `.mat`": partial(predictions_file, ".mat"),
}
TEXTS: dict[str, Make] = {
    "COCO annotations": coco_annotations,
    "COCO detections": coco_detections,
}
BINARIES: dict[str, Make] = {
    "LSP `joints.mat`": lsp_joints,
    "MPII `.mat`": mpii_release,
    "MPII `valid.h5`": mpii_validation,
}
PICTURES: dict[str, Make] = {
    "JPEG, PNG in training": pictures_in_training,
    "JPEG, PNG in predict": pictures_in_predict,
}


if __name__ == "__main__":
    run(main)
