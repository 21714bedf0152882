"""What mkdocs adds to the pages of this folder: README files of the repository, and a page of the API for each room."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

OUTSIDE = {
    "README.md": "index.md", "weights/README.md": "weights_card.md", "datasets/README.md": "datasets.md",
    "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
}  # fmt: skip
"""Files of the repository outside of docs/ -> their pages."""

ROOMS = ("model", "data", "evaluation", "training", "inference")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by mkdocs."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for room, modules in {"ground": _modules("*.py"), **{room: _modules(f"{room}/**/*.py") for room in ROOMS}}.items():
        title = "the ground floor" if room == "ground" else f"pose_regression.{room}"
        content = f"# {title}\n\n" + "".join(f"::: {module}\n" for module in modules)
        files.append(File.generated(config, f"api/{room}.md", content=content))
    return files


def on_page_markdown(markdown: str, page, config: MkDocsConfig, files: Files) -> str:
    """Called by mkdocs: links to files of the repository lead to their pages, or are text where they have none."""
    source = {page: source for source, page in OUTSIDE.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def linked(match: re.Match) -> str:
        image, text, target, anchor = match.groups("")
        if re.match(r"[a-z]+:", target) or not target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        uri = OUTSIDE.get(path, path.removeprefix("docs/"))
        if path not in OUTSIDE and not (path.startswith("docs/") and files.get_file_from_path(uri)):
            return text
        return f"{image}[{text}]({posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or '.')}{anchor})"

    return re.sub(r"(!?)\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^)#\s]*)(#[^)\s]*)?\)", linked, markdown)


def _modules(pattern: str) -> list[str]:
    """Names of the package's modules, as mkdocstrings takes them."""
    paths = sorted((ROOT / "pose_regression").glob(pattern))
    return [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths if not p.name.startswith("__")]
