"""Write docs/api.md: every public class and function of the package, from its source.

    python -m experiments.api_page

Cost: a few seconds, the start of Keras; the source is parsed, not run. A test compares the page with the source.
"""

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

from experiments.command import run
from pose_regression.files import atomic_path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/api.md"

Definition = ast.FunctionDef | ast.ClassDef


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page(), encoding="utf-8")
    print(f"Written to {PAGE}.")


def modules() -> list[Path]:
    """The package's source files that define something public, by name."""
    return [path for path in sorted((ROOT / "pose_regression").rglob("*.py")) if any(definitions(path))]


def page() -> str:
    """The whole page."""
    parts = ["# API\n\nMade by `python -m experiments.api_page` from the source. The docstrings say more.\n"]
    for path in modules():
        relative = path.relative_to(ROOT)
        name = ".".join(relative.with_suffix("").parts)
        summary = first_sentence(ast.parse(path.read_text(encoding="utf-8")))
        parts.append(f"## [{name}](../{relative})\n\n{summary}\n")
        parts.append("\n".join(line for definition in definitions(path) for line in entry(definition)) + "\n")
    return "\n".join(parts)


def definitions(path: Path) -> Iterator[Definition]:
    """Public classes and functions of a module, in its order."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node


def methods(definition: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """Public methods and properties of a class, those aside that Keras calls and documents."""
    keras = ("build", "call", "compute_output_shape", "get_config", "from_config", "update_state", "result")
    own = ("update_step", "compute_loss", "compute_metrics", "on_epoch_begin", "on_train_batch_end")
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in keras + own:
            yield node


def entry(definition: Definition) -> Iterator[str]:
    """A class or function with its first sentence; then a class's methods."""
    yield f"- **`{signature(definition)}`**<br>{first_sentence(definition)}"
    if isinstance(definition, ast.ClassDef):
        for method in methods(definition):
            yield f"  - `.{signature(method)}`<br>{first_sentence(method)}"


def signature(definition: Definition) -> str:
    """Name, arguments, result."""
    if isinstance(definition, ast.FunctionDef):
        if any(isinstance(d, ast.Name) and d.id == "property" for d in definition.decorator_list):
            return definition.name
        result = f" -> {ast.unparse(definition.returns)}" if definition.returns else ""
        return f"{definition.name}({arguments(definition)}){result}"
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return f"{definition.name}({arguments(node)})"
    fields = [node for node in definition.body if isinstance(node, ast.AnnAssign)]
    return f"{definition.name}({', '.join(ast.unparse(field) for field in fields)})" if fields else definition.name


def arguments(function: ast.FunctionDef) -> str:
    """As written, without `self` and `cls`."""
    text = ast.unparse(function.args)
    return text.removeprefix("self").removeprefix("cls").removeprefix(", ")


def first_sentence(node: ast.Module | Definition) -> str:
    """Of the docstring, on one line."""
    paragraph = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    end = paragraph.find(". ")
    return paragraph if end < 0 else paragraph[: end + 1]


if __name__ == "__main__":
    run(main)
