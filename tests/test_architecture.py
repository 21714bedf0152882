"""The rooms of docs/architecture.md hold: who imports whom, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("ground", "model", "data", "evaluation", "training", "inference")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for folder in ("pose_regression", "experiments")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.name != "__init__.py"
}


def imports(module: str) -> set[str]:
    """The project's modules that a module imports, anywhere in it, but for the sake of types."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name in MODULES}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else "ground"


PACKAGE = [module for module in MODULES if module.startswith("pose_regression.")]
COMMANDS = [module for module in MODULES if module.startswith("experiments.") and "\ndef main(" in
            MODULES[module].read_text(encoding="utf-8")]  # fmt: skip


@pytest.mark.parametrize("module", PACKAGE)
def test_a_room_imports_only_from_rooms_before_it(module):
    allowed = ROOMS[: ROOMS.index(room(module)) + 1]
    assert not {name for name in imports(module) if room(name) not in allowed}


@pytest.mark.parametrize("module", PACKAGE)
def test_the_package_does_not_know_the_commands(module):
    assert not {name for name in imports(module) if name.startswith("experiments")}


def test_there_is_no_circle():
    order: list[str] = []

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above, module])
        if module not in order:
            for name in sorted(imports(module)):
                visit(name, (*above, module))
            order.append(module)

    for module in PACKAGE:
        visit(module, ())


def behind(module: str) -> set[str]:
    """All that a module imports, and what that imports, and so on."""
    found: set[str] = set()
    coming = [module]
    while coming:
        new = imports(coming.pop()) - found
        found |= new
        coming += new
    return found


def test_training_state_needs_no_downloads():
    assert "pose_regression.container" in behind("pose_regression.training.checkpoint")
    assert "pose_regression.model.hub" not in behind("pose_regression.training.checkpoint")


@pytest.mark.parametrize("module", COMMANDS)
def test_no_command_imports_another(module):
    assert not imports(module) & set(COMMANDS)
