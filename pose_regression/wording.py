"""Numbers as people read them."""

_PLURALS = {"person": "people", "box": "boxes", "batch": "batches"}


def quantity(number: int, what: str) -> str:
    """`1 picture`, `2,000 pictures`, `1 person`, `2 people`."""
    return f"{number:,} {what if number == 1 else _PLURALS.get(what, what + 's')}"
