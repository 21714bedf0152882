"""One self-contained HTML page out of parts: it loads nothing, neither scripts nor pictures from elsewhere."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 70rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin-bottom: .3rem; }
img { max-width: 100%; height: auto; display: block; margin: .6rem 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #e3e3e3; }
th:first-child { text-align: left; } thead th { border-bottom: 1px solid #888; font-weight: 600; }
tbody th { font-weight: 400; } code { overflow-wrap: anywhere; font-size: .85rem; } dd { margin: 0 0 .5rem 1rem; }
@media print { h2 { break-after: avoid; } img { break-inside: avoid; } }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """The whole document. Its policy lets the browser load nothing that is not in it."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    name = html.escape(f"Training report: {title}")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{name}</title>\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{name}</h1>\n{''.join(parts)}</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A part of the page under a heading."""
    return f"<section>\n<h2>{html.escape(title)}</h2>\n{''.join(parts)}\n</section>\n"


def paragraph(text: str) -> str:
    """Text, in which nothing is markup."""
    return f"<p>{html.escape(text)}</p>\n"


def table(header: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Rows by label; every cell is text."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in ("", *header))
    body = "".join(
        f"<tr><th>{html.escape(label)}</th>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>\n"
        for label, cells in rows.items()
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'


def numbers(values: Iterable[float]) -> list[str]:
    """One decimal each; a dash where nothing was scored."""
    return ["-" if np.isnan(value) else f"{value:.1f}" for value in values]


def picture(figure: Figure, description: str) -> str:
    """A diagram as an embedded SVG. As an image of its own: the names inside do not clash with another's."""
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    return _image(content.getvalue(), "image/svg+xml", description)


def photographs(sheet: np.ndarray, description: str) -> str:
    """A contact sheet as an embedded JPEG, a fifth of a PNG's size."""
    content = io.BytesIO()
    Image.fromarray(sheet).save(content, "JPEG", quality=85)
    return _image(content.getvalue(), "image/jpeg", description)


def _image(content: bytes, kind: str, description: str) -> str:
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{html.escape(description)}" src="data:{kind};base64,{data}">\n'
