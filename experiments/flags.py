"""The flags of the training commands, made from the fields of an `Experiment`; and their config files."""

import argparse
import ast
import inspect
import runpy
from dataclasses import MISSING, fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pose_regression.errors import PoseError
from pose_regression.training.experiment import RECIPES, Data, Experiment, changed, from_json, read_options

CONFIGS = Path(__file__).with_name("configs")

Parsed = tuple[Experiment, Path, dict[str, bool]]
"""The experiment, its directory, and `resume` and `force`: the arguments of `training.run`."""


def parser_of(description: str, data: type, *, output: str) -> argparse.ArgumentParser:
    """The parser of a training command.

    Args:
        description: its docstring.
        data: the kind of data that it trains on.
        output: where its runs go by default.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    run = parser.add_argument_group("run")
    run.add_argument("--config", metavar="NAME_OR_FILE", help="of experiments/configs, or a run's options.json")
    run.add_argument("--output", type=Path, metavar="DIR", help=f"run directory (default: {output}, or runs/CONFIG)")
    run.add_argument("--resume", action="store_true", help="go on with the run in --output")
    run.add_argument("--force", action="store_true", help="delete what is in --output first")
    run.add_argument("--show", type=Path, metavar="FILE", help="only draw 40 of the augmented crops to train on, .png")
    run.add_argument("--recipe", choices=tuple(RECIPES), help="what the flags of the recipe change (default: paper)")
    add_fields(parser, data)
    add_fields(parser, Experiment)
    parser.set_defaults(default_output=Path(output))
    return parser


def experiment_of(options: argparse.Namespace, data: type) -> Parsed:
    """What the flags of `parser_of` say; with weights and no config, the network is that of the weights."""
    given = {name: value for name, value in vars(options).items() if "." in name}
    base = config(options.config) if options.config else None
    if base and not isinstance(base.data, data):
        raise PoseError(f"--config {options.config} is a training on {type(base.data).__name__}, not {data.__name__}.")
    required = {f.name: given.get(f"{data.__name__}.{f.name}") for f in fields(data) if f.default is MISSING}
    missing = [flag(name) for name, value in required.items() if value is None]
    if not base and missing:
        raise PoseError(f"{' and '.join(missing)} must be given, or a --config.")
    experiment = base or Experiment(data=data(**required))
    weights = given.get("Experiment.weights", "none")
    if weights != "none" and not base:
        from pose_regression.training.run import network_of

        experiment = replace(experiment, network=network_of(weights))
    if options.recipe:
        experiment = replace(experiment, recipe=RECIPES[options.recipe])
    name = Path(options.config).stem if options.config else ""
    output = options.output or (Path("runs", name) if name else options.default_output)
    return changed(experiment, given), output, {"resume": options.resume, "force": options.force}


def show(experiment: Experiment, path: Path) -> None:
    """What `--show` asks for."""
    from pose_regression.training.shown_crops import draw_crops

    print(draw_crops(experiment, path))


def config(name: str) -> Experiment:
    """The experiment of a config: a name in experiments/configs, another file of the kind, or a run's options.json."""
    path = CONFIGS / f"{name}.py" if (CONFIGS / f"{name}.py").is_file() else Path(name)
    if path.suffix == ".json":
        return from_json(read_options(path)["experiment"], path)
    if path.suffix != ".py" or not path.is_file():
        known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.py") if p.stem != "__init__"))
        raise PoseError(f"--config must be one of {known}, or a file. Received: {name}")
    experiment = runpy.run_path(str(path)).get("experiment")
    if not isinstance(experiment, Experiment):
        raise PoseError(f"{path} must set `experiment` to an Experiment.")
    return experiment


def add_fields(parser: argparse.ArgumentParser, kind: type) -> None:
    """A flag for every field of a dataclass and of those in it; absent from what is parsed unless given."""
    group, texts = parser.add_argument_group(kind.__name__.lower()), field_texts(kind)
    for entry in fields(kind):
        hint = get_type_hints(kind)[entry.name]
        if is_dataclass(hint):
            add_fields(parser, hint)  # type: ignore[arg-type]
        elif hint != Data:
            plain = entry.default is not MISSING and entry.default not in (None, (), "")
            default = f" (default: {entry.default})" if plain and kind.__name__ != "Recipe" else ""
            text = (texts[entry.name] + default).replace("%", "%%")
            dest = f"{kind.__name__}.{entry.name}"
            group.add_argument(flag(entry.name), dest=dest, default=argparse.SUPPRESS, help=text, **_form(hint))
            if entry.name == "flip":
                none: dict[str, Any] = {
                    "dest": dest,
                    "default": argparse.SUPPRESS,
                    "action": "store_const",
                    "const": 0.0,
                }
                group.add_argument("--no-flip", help="mirror nothing: --flip 0", **none)


def flag(name: str) -> str:
    """The flag of a field."""
    return "--data" if name == "folder" else f"--{name.replace('_', '-')}"


def field_texts(kind: type) -> dict[str, str]:
    """The strings below the fields of a dataclass, each in one line."""
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    return {
        ast.unparse(first.target): " ".join(ast.literal_eval(second.value).split())
        for first, second in pairwise(body)
        if isinstance(first, ast.AnnAssign) and isinstance(second, ast.Expr)
    }


def _form(hint: Any) -> dict[str, Any]:
    """How argparse reads a value of this type."""
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    inner = [part for part in get_args(hint) if part not in (type(None), Ellipsis)]
    literal = next((part for part in (hint, *inner) if get_origin(part) is Literal), None)
    if literal:
        return {"choices": get_args(literal)}
    count = {"nargs": "*" if Ellipsis in get_args(hint) else 2, "action": _Tuple} if get_origin(hint) is tuple else {}
    scalar = inner[0] if inner else hint
    return {"type": scalar, "metavar": {int: "N", float: "X", Path: "PATH"}.get(scalar, "TEXT"), **count}


class _Tuple(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, tuple(values))
