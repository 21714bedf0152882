"""One part of the work for each of several processes or machines: I/N is the Ith of every N."""

from collections.abc import Sequence
from typing import TypeVar

from pose_regression.errors import PoseError

T = TypeVar("T")


def shard(items: Sequence[T], text: str, *, option: str) -> tuple[list[T], list[T]]:
    """The items of a part, and the others.

    Args:
        items: all of them, in an order that every process sees alike.
        text: "I/N", 1 <= I <= N.
        option: what to call the text in an error.

    Raises:
        PoseError: not such a text, or a part without items.
    """
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise PoseError(f"{option} must be I/N with 1 <= I <= N, such as 1/3. Received: {text}")
    first, step = int(number) - 1, int(parts)
    if len(items) <= first:
        raise PoseError(f"{option} {text} is empty: there are {len(items)}.")
    return list(items[first::step]), [item for i, item in enumerate(items) if i % step != first]
