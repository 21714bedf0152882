"""Poses of any number of pictures as a table: Parquet, a part at a time, with an account of which pictures are there.

A row is a picture, in the order in which the answers came:

    index   its place among the pictures that were asked for, from 0
    image   its name
    width, height   of the upright picture in pixels; null where it cannot be read
    error   one sentence where it cannot be read, else null
    people  a list; each an annotation of the COCO keypoints format, as `Pose.to_coco` gives it

Needs the extra `ray`, which brings pyarrow.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pose_regression.errors import PoseError
from pose_regression.files import atomic_path
from pose_regression.inference.coco_files import category_entry
from pose_regression.skeleton import Skeleton

PART = 20_000
"""Pictures in a file."""

_PERSON = {
    "category_id": pa.int64(), "bbox": pa.list_(pa.float64()), "area": pa.float64(), "iscrowd": pa.int64(),
    "keypoints": pa.list_(pa.float64()), "num_keypoints": pa.int64(), "score": pa.float64(),
    "probability": pa.list_(pa.float64()), "person": pa.int64(), "detection": pa.float64(),
    "confidence": pa.list_(pa.float64()),
}  # fmt: skip
ROWS = pa.schema({
    "index": pa.int64(), "image": pa.string(), "width": pa.int32(), "height": pa.int32(), "error": pa.string(),
    "people": pa.list_(pa.struct(_PERSON)),
})  # fmt: skip


@dataclass
class Parts:
    """The files of a folder, and which pictures they hold."""

    folder: Path
    names: Sequence[str]
    """Of the pictures that were asked for, by their index."""
    people: int = 0
    nobody: int = 0
    """Pictures that could be read, and in which there is nobody."""
    broken: list[str] = field(default_factory=list)
    """What is wrong with each picture that cannot be read."""
    files: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        if any(self.folder.glob("*.parquet")):
            raise PoseError(f"{self.folder} holds the poses of an earlier run; choose another --output.")
        self._seen = bytearray(len(self.names))
        self._waiting: list[pa.Table] = []

    @property
    def done(self) -> int:
        """Pictures that are answered."""
        return self._seen.count(1)

    def add(self, rows: pa.Table) -> None:
        """Take rows of `ROWS`; those of pictures that are there already, which a repeated task gives, are left out."""
        new = pa.array([self._is_new(index) for index in rows["index"].to_pylist()], pa.bool_())
        rows = rows.select(ROWS.names).cast(ROWS).filter(new)
        names = pa.array([self.names[index] for index in rows["index"].to_pylist()], pa.string())
        rows = rows.set_column(1, "image", names)
        self._waiting.append(rows)
        errors, people = rows["error"].to_pylist(), rows["people"].to_pylist()
        self.broken += [error for error in errors if error is not None]
        self.people += sum(map(len, people))
        self.nobody += sum(error is None and not found for error, found in zip(errors, people, strict=True))
        if sum(table.num_rows for table in self._waiting) >= PART:
            self.write()

    def _is_new(self, index: int) -> bool:
        if self._seen[index]:
            return False
        self._seen[index] = 1
        return True

    def write(self) -> None:
        """Write what is not yet on the disk as one more file."""
        rows = pa.concat_tables(self._waiting) if self._waiting else ROWS.empty_table()
        if rows.num_rows:
            path = self.folder / f"part-{len(self.files):05d}.parquet"
            with atomic_path(path) as temporary:
                pq.write_table(rows, temporary)
            self.files.append(path)
        self._waiting = []


def write_coco(
    path: Path, parts: Sequence[Path], skeleton: Skeleton, *, category: tuple[int | str, str], ids: Sequence[int | str]
) -> None:
    """The pictures that could be read and their people as one COCO keypoints file, with little in memory.

    Args:
        path: of the JSON.
        parts: Parquet files of `ROWS`.
        skeleton: of the joints.
        category: id and name of the people's.
        ids: what to call each picture, by its index.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"info": {"description": "Poses found by pose_regression"}, "images": [')
        images = (
            {"id": ids[row["index"]], "file_name": row["image"], "width": row["width"], "height": row["height"]}
            for row in _read(parts, ["index", "image", "width", "height"])
        )
        file.writelines(_separated(images))
        file.write('], "annotations": [')
        people = ((row["index"], person) for row in _read(parts, ["index", "people"]) for person in row["people"])
        annotations = (
            {"id": number, "image_id": ids[index]} | _annotation(person) | {"category_id": category[0]}
            for number, (index, person) in enumerate(people, 1)
        )
        file.writelines(_separated(annotations))
        file.write(f'], "categories": [{json.dumps(category_entry(skeleton, category))}]}}')


def _read(parts: Sequence[Path], columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of pictures that could be read."""
    for part in parts:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(1024, columns=[*columns, "error"]):
                yield from (row for row in batch.to_pylist() if row["error"] is None)


def _annotation(person: dict[str, Any]) -> dict[str, Any]:
    """As `Pose.to_coco` gave it: v whole, no confidence where there was none."""
    keypoints = [int(v) if i % 3 == 2 else v for i, v in enumerate(person["keypoints"])]
    return {k: v for k, v in person.items() if k != "confidence" or v is not None} | {"keypoints": keypoints}


def _separated(entries: Iterator[dict[str, Any]]) -> Iterator[str]:
    for number, entry in enumerate(entries):
        yield f"{', ' if number else ''}{json.dumps(entry)}"
