"""What holds for every command."""

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import experiments
from experiments.command import run

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


def test_neither_tensorflow_nor_litert_says_a_word_in_a_command():
    code = "import experiments; from pose_regression.inference.people import shipped; shipped()"
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"benchmark_speed", "benchmark_training", "figures"}))
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


SAYS = """
import os, sys
from experiments.command import run
def main():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    sys.stdin.read()
    descriptor = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
    os.write(1, b"library")
    os.close(descriptor)
run(main)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_cost_nothing_and_are_no_file_of_the_command(tmp_path, closed):
    (tmp_path / "says.py").write_text(SAYS, encoding="utf-8")
    kept = ["</dev/null"] if "<&-" not in closed else []
    command = " ".join([sys.executable, "says.py", "file", closed, *kept])
    environment = os.environ | {"PYTHONPATH": str(Path(experiments.__file__).parents[1])}
    assert subprocess.run(command, shell=True, cwd=tmp_path, env=environment).returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


def test_a_reader_that_has_gone_ends_the_command_without_a_traceback(tmp_path):
    code = "from experiments.command import run; run(lambda: print('line\\n' * 100_000))"
    command = f'{sys.executable} -c "{code}"'
    process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(4)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_is_one_sentence():
    code = "from experiments.command import run; run(lambda: print('line'))"
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "error: stdout could not be written: No space left on device.\n")


@pytest.mark.parametrize(
    "content, backend, said",
    [
        ('{"backend": "theano"}', "", "Keras is set to the backend theano, by"),
        ("{}", "nowhere", "Keras is set to the backend nowhere"),
        ('{"floatx": "bfloat16"}', "", "floatx must be float16, float32 or float64. Received: bfloat16"),
    ],
)
def test_settings_with_which_keras_cannot_be_imported_are_one_sentence(
    tmp_path, monkeypatch, capsys, content, backend, said
):
    (tmp_path / "keras.json").write_text(content, encoding="utf-8")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", backend)

    def main():
        raise ValueError("Unable to import backend")

    with pytest.raises(SystemExit) as end:
        run(main)
    error = capsys.readouterr().err
    assert end.value.code == 2 and said in error and error.count("\n") == 1


def test_an_error_that_is_nobodys_mistake_stays_a_traceback(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")

    def main():
        raise ValueError("a fault of ours")

    with pytest.raises(ValueError, match="a fault of ours"):
        run(main)
