"""Pictures of people rendered from a seed, in MPII's layout: the data set of the first run and of the tests."""

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from pose_regression.container import hdf5
from pose_regression.data.synthetic.picture import Person, render
from pose_regression.errors import PoseError
from pose_regression.files import atomic_path, read_json, write_file, write_json
from pose_regression.skeleton import MPII
from pose_regression.visualize import save_image

RENDERER = 2  # raised whenever the pictures of a seed change, so that `ensure` renders them again
FOLDER = Path("datasets/synthetic")  # what `--data synthetic` means to every command
TRAIN = 2000  # training pictures, where nobody says another number
RELEASE_FILE = "mpii_human_pose_v1_u12_1.mat"
SIZES = ((320, 256), (288, 224), (288, 288), (256, 256), (256, 320), (320, 240))
_PARAMETERS_FILE = "synthetic.json"
_EMPTY = np.zeros((0, 0))


def folder_of(data: str | Path) -> Path:
    """The folder that a command's `--data` means: the word "synthetic" stands for `FOLDER`."""
    return FOLDER if str(data) == FOLDER.name else Path(data)


def ensure(directory: str | Path, *, train: int | None = None, validation: int = 200, seed: int = 0) -> Path:
    """Render the data set into `directory` unless it is there already.

    Args, errors: as `write`; without `train`, any number of training pictures is what is wanted, and `TRAIN` are
        rendered.

    Returns:
        `directory`, for `mpii.load`.
    """
    directory = Path(directory)
    there = _read_parameters(directory) if (directory / RELEASE_FILE).is_file() else None
    if train is None:
        train = TRAIN
        there = there and there | {"train": train}
    if there != _parameters(train, validation, seed):
        print(f"Synthetic people: rendering {train + validation} pictures into {directory} ...", flush=True)
        write(directory, train=train, validation=validation, seed=seed)
    return directory


def write(directory: str | Path, *, train: int = TRAIN, validation: int = 200, seed: int = 0) -> None:
    """Render a data set in MPII's layout: `images/`, the official `.mat`, `annot/valid.h5`.

    The `.mat` is written last: where it is, everything is. About 40 ms a picture and core; beyond 100 pictures two
    processes share the work, so a script that calls this needs the usual `if __name__ == "__main__":`.

    Coordinates are written as the loader and the authors' code read them, pixel i covering [i, i+1), joints with their
    fractions; MPII's own, whole and counting from 1, leave open where in a pixel they lie.

    Args:
        directory: absent, empty, or an older synthetic data set, which is replaced.
        train: number of training pictures; one in eight has a second person.
        validation: number of validation pictures, the same for a seed whatever `train` is.
        seed: not negative.

    Raises:
        PoseError: `directory` holds something else, a number is out of range, or a file could not be written.
    """
    directory = Path(directory)
    _check(directory, train, validation, seed)
    (directory / RELEASE_FILE).unlink(missing_ok=True)
    write_json(directory / _PARAMETERS_FILE, _parameters(train, validation, seed))
    (directory / "images").mkdir(exist_ok=True)
    jobs = [(directory, i, _picture_seed(seed, 0, i)) for i in range(train)]
    jobs += [(directory, train + i, _picture_seed(seed, 1, i)) for i in range(validation)]
    people, started = [], time.monotonic()
    for persons in _rendered(jobs):
        people.append(persons)
        _show_tenths(len(people), len(jobs), started)
    _write_validation(directory / "annot" / "valid.h5", people, train)
    with atomic_path(directory / RELEASE_FILE) as path:
        scipy.io.savemat(path, {"RELEASE": _release(people)}, do_compression=True)


def _check(directory: Path, train: int, validation: int, seed: int) -> None:
    if train < 1 or validation < 1 or seed < 0:
        raise PoseError(
            "Expected train and validation of at least 1 and a seed of at least 0. "
            f"Received: train={train}, validation={validation}, seed={seed}"
        )
    if not directory.exists() or _read_parameters(directory) is not None:
        return
    if not directory.is_dir() or any(directory.iterdir()):
        raise PoseError(f"{directory} holds something else than synthetic people; name an empty or a new folder.")


def _rendered(jobs: list[tuple[Path, int, int]]) -> Iterator[list[Person]]:
    """The people of each picture, in order, as it is written."""
    if len(jobs) <= 100:
        yield from map(_write_picture, jobs)
        return
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_write_picture, jobs, chunksize=16)


def _show_tenths(done: int, total: int, started: float) -> None:
    """Print each tenth part of the pictures, and the time that is left."""
    if 10 * done // total > 10 * (done - 1) // total:
        left = (time.monotonic() - started) * (total - done) / done
        print(f"{done} of {total} pictures rendered" + (f", {left:.0f} s left" if left >= 1 else ""), flush=True)


def _parameters(train: int, validation: int, seed: int) -> dict[str, int]:
    return {"renderer": RENDERER, "train": train, "validation": validation, "seed": seed}


def _read_parameters(directory: Path) -> dict[str, int] | None:
    """What `directory` was rendered with; None if it is no synthetic data set."""
    try:
        return read_json(directory / _PARAMETERS_FILE)
    except PoseError:
        return None


def _picture_seed(seed: int, split: int, index: int) -> int:
    return int(np.random.SeedSequence((seed, split, index)).generate_state(1, np.uint64)[0])


def _image_name(index: int) -> str:
    return f"{index + 1:09d}.jpg"


def _write_picture(job: tuple[Path, int, int]) -> list[Person]:
    """Render one JPEG of varying size and quality."""
    directory, index, seed = job
    image, people = render(seed, size=SIZES[seed % len(SIZES)])
    save_image(directory / "images" / _image_name(index), image, quality=85 + seed // len(SIZES) % 8)
    return people


def _annotated(index: int, person: int) -> bool:
    """Whether somebody annotated this person's joints: every third second person has a head box alone."""
    return person == 0 or index % 3 > 0


def _write_validation(path: Path, people: list[list[Person]], first: int) -> None:
    """The annotated people of the pictures from `first` on, as the stacked hourglass' `valid.h5` has them."""
    rows = [(i, k, p) for i in range(first, len(people)) for k, p in enumerate(people[i]) if _annotated(i, k)]
    persons = [person for _, _, person in rows]
    columns = {
        "imgname": np.array([_image_name(i).encode() for i, _, _ in rows]),
        "index": np.array([i for i, _, _ in rows], float),
        "person": np.array([k for _, k, _ in rows], float),
        "part": np.array([np.nan_to_num(p.joints) for p in persons]),
        "visible": np.array([p.visible for p in persons], float),
        "center": np.array([p.objpos + (0, 15 * p.scale) for p in persons]),
        "scale": np.array([1.25 * p.scale for p in persons]),
        "normalize": np.array([25 * p.scale for p in persons]),
    }
    write_file(path, hdf5(columns))


def _struct(records: list[dict[str, Any]]) -> np.ndarray:
    """A MATLAB struct array (1, N)."""
    result = np.empty((1, len(records)), [(name, object) for name in records[0]])
    for i, record in enumerate(records):
        result[0, i] = tuple(record.values())
    return result


def _release(people: list[list[Person]]) -> np.ndarray:
    """The struct RELEASE."""
    annolist = []
    for i, persons in enumerate(people):
        rects = _struct([_rect(person, i, k) for k, person in enumerate(persons)])
        image = _struct([{"name": _image_name(i)}])
        annolist.append({"image": image, "annorect": rects, "frame_sec": _EMPTY, "vididx": _EMPTY})
    single = np.empty((len(people), 1), object)
    for i, persons in enumerate(people):
        # Two people are never far apart here: only who is alone is "sufficiently separated".
        single[i, 0] = np.ones((1, 1), np.uint8) if len(persons) == 1 else _EMPTY
    act = _struct([{"cat_name": _EMPTY, "act_name": _EMPTY, "act_id": -1}] * len(people)).T
    release = {
        "annolist": _struct(annolist),
        "img_train": np.ones((1, len(people)), np.uint8),
        "version": "12",
        "single_person": single,
        "act": act,
        "video_list": np.empty((1, 0), object),
    }
    return _struct([release])


def _rect(person: Person, image: int, number: int) -> dict[str, Any]:
    record: dict[str, Any] = dict(zip(("x1", "y1", "x2", "y2"), person.head_box.astype(np.int16), strict=True))
    if not _annotated(image, number):
        return record | {"annopoints": _EMPTY, "scale": _EMPTY, "objpos": _EMPTY}
    points = []
    for joint in np.flatnonzero(np.isfinite(person.joints).all(axis=1)):
        point: dict[str, Any] = {"x": person.joints[joint, 0], "y": person.joints[joint, 1], "id": np.uint8(joint)}
        point["is_visible"] = _EMPTY if MPII.names[joint] in ("neck", "head") else person.visible[joint]
        points.append(point)
    objpos = _struct([dict(zip(("x", "y"), person.objpos, strict=True))])
    return record | {"annopoints": _struct([{"point": _struct(points)}]), "scale": person.scale, "objpos": objpos}
