"""Masks as COCO writes them, in runs: the box about what they cover.

A mask of h x w pixels is read column by column, the left one first and each from top to bottom; `counts` are the
lengths of its runs, in turn of pixels outside and inside, outside first. They are a list, or text: every count, from
the fourth on as the difference to the last but one, in groups of five bits, the lowest first. A group's character is
48 more than the bits and 32 if another group follows; the highest bit of the last group is the sign.

Source of the format: cocodataset.org, "Data format", and maskApi.c of the COCO API.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

LONGEST = 1_000_000
"""Pixels; no picture has a longer side."""


def box_of_mask(mask: Mapping[str, Any]) -> list[float]:
    """x, y, width, height in pixels of what a mask {"counts": ..., "size": [h, w]} covers; empty if it is no mask."""
    text = mask.get("counts")
    runs, size = _whole(list(_counts_of_text(text)) if isinstance(text, str) else text), _whole(mask.get("size"))
    if len(size) != 2 or max(size) > LONGEST or sum(runs) != size[0] * size[1]:
        return []
    ends = np.cumsum(np.array(runs, np.int64))
    covered = np.array(runs[1::2]) > 0
    if not covered.any():
        return []
    first, last = ends[0::2][: len(covered)][covered], ends[1::2][covered] - 1
    columns, rows = np.stack([first, last]) // size[0], np.stack([first, last]) % size[0]
    whole = (columns[0] != columns[1]).any()  # such a run covers the end of one column and the beginning of the next
    top, bottom = (0, size[0] - 1) if whole else (rows.min(), rows.max())
    left, right = columns.min(), columns.max()
    return [float(value) for value in (left, top, right - left + 1, bottom - top + 1)]


def _counts_of_text(text: str) -> Iterator[int]:
    """The counts in the text; those of other text are no counts of any mask."""
    before: list[int] = []
    value = shift = 0
    for group in (ord(letter) - 48 for letter in text):
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            value -= (1 << shift) if group & 16 else 0
            value += before[-2] if len(before) > 2 else 0
            before.append(value)
            yield value
            value = shift = 0


def _whole(values: Any) -> list[int]:
    """The list, if it is one of whole numbers from 0; else an empty one."""
    whole = isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
    return values if whole else []
