"""What holds for every command."""

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import experiments

COMMANDS = sorted(
    path.stem for path in Path(experiments.__file__).parent.glob("*.py") if "\ndef main()" in path.read_text()
)


class Captured(Exception):
    pass


@pytest.fixture
def parser(request, monkeypatch) -> argparse.ArgumentParser:
    """The one with which a command reads its arguments."""

    def capture(self, *arguments, **keywords):
        raise Captured(self)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", capture)
    monkeypatch.setattr(sys, "argv", [request.param])
    with pytest.raises(Captured) as found:
        importlib.import_module(f"experiments.{request.param}").main()
    return found.value.args[0]


def test_the_commands_are_found():
    assert {"train_mpii", "train_lsp", "evaluate", "predict", "export", "serve"} <= set(COMMANDS)


@pytest.mark.parametrize(("parser", "name"), [(name, name) for name in COMMANDS], indirect=["parser"])
def test_help_shows_how_to_call_it_and_explains_every_option(parser, name):
    assert f"python -m experiments.{name}" in parser.description
    unexplained = [action for action in parser._actions if not action.help and not action.choices]
    assert not [action.option_strings or action.dest for action in unexplained]
    assert parser.format_help().startswith("usage:")  # no stray % in a text


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"benchmark_pipeline", "benchmark_speed", "figures"}))
def test_help_does_not_wait_for_tensorflow(name):
    code = (
        "import contextlib, io, runpy, sys\n"
        f"sys.argv = ['{name}', '--help']\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        f"    runpy.run_module('experiments.{name}', run_name='__main__')\n"
        "print([module for module in ('tensorflow', 'keras', 'jax') if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
