"""Command lines in README and docs/ are ones that the commands take; the documentation builds without a warning."""

import argparse
import importlib
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from experiments import flags
from pose_regression.errors import PoseError

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "weights/README.md",
    ROOT / "CONTRIBUTING.md",
]
LINE = re.compile(r"python -m (experiments\.\w+)([^`|#]*)")


def command_lines() -> list[tuple[str, str, list[str]]]:
    """Page, module and words of every whole command line; "..." and brackets in a line make it no command."""
    found = []
    for page in PAGES:
        # In code blocks a line ends a command; in running text the closing backquote does.
        text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
        inline = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", inline)]
        for line in [*text.splitlines(), *spans]:
            for part in line.split("&&"):
                match = LINE.search(part)
                if match and not re.search(r"\.\.\.|…|\[|^.*[A-Z_]=", match[2]) and match[2].count('"') % 2 == 0:
                    if line in spans or not line.count("`"):
                        found.append((page.relative_to(ROOT).as_posix(), match[1], shlex.split(match[2])))
    return found


LINES = command_lines()


def filled_in(words: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """The words with something that will do in place of single capitals, which stand for any value."""
    choices = {option: list(action.choices or ["1"]) for action in parser._actions for option in action.option_strings}
    return [
        str(choices.get(before, ["1"])[0]) if re.fullmatch("[A-Z]", word) else word
        for before, word in zip(["", *words], words, strict=False)
    ]


class Captured(Exception):
    """Raised with the parser in place of reading the arguments."""


@pytest.fixture(scope="module")
def parsers():
    """module -> its parser."""
    known: dict[str, argparse.ArgumentParser] = {}

    def parser(module: str) -> argparse.ArgumentParser:
        if module not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", [module])

                def capture(self, *arguments, **keywords):
                    raise Captured(self)

                patch.setattr(argparse.ArgumentParser, "parse_args", capture)
                with pytest.raises(Captured) as caught:
                    importlib.import_module(module).main()
            known[module] = caught.value.args[0]
        return known[module]

    return parser


def test_there_are_command_lines_to_check():
    assert len(LINES) > 30
    assert ("README.md", "experiments.train_mpii", ["--config", "first_run"]) in LINES


@pytest.mark.parametrize(("page", "module", "words"), LINES, ids=lambda value: str(value)[:60])
def test_a_command_line_in_the_pages_is_one_that_the_command_takes(page, module, words, parsers, capsys):
    parser = parsers(module)
    try:
        options = parser.parse_args(filled_in(words, parser))
    except SystemExit:
        pytest.fail(f"{page}: python -m {module} {' '.join(words)}: {capsys.readouterr().err.splitlines()[-1]}")
    if isinstance(getattr(options, "config", None), str) and not options.config.isupper():
        flags.config(options.config)


def test_a_wrong_option_and_a_wrong_config_would_be_noticed(parsers):
    with pytest.raises(SystemExit):
        parsers("experiments.train_mpii").parse_args(["--epoch-number", "3"])
    with pytest.raises(PoseError, match="no_such"):
        flags.config("no_such")


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert not [page for page in pages if f" {page}\n" not in navigation]


@pytest.mark.slow
@pytest.mark.skipif(
    not (find_spec("material") and find_spec("mkdocstrings")), reason="needs mkdocs-material (pip install '.[dev]')"
)
def test_the_documentation_builds_in_strict_mode(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert built.returncode == 0, built.stderr
    face = (tmp_path / "site/face/index.html").read_text(encoding="utf-8")
    assert "options.json" in face  # of run()
    assert "fonts.googleapis.com" not in face
    assert "SoftArgmax" in (tmp_path / "site/api/model/index.html").read_text(encoding="utf-8")
