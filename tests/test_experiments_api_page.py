import ast

import pytest

from experiments import api_page


def test_page_is_that_of_the_source():
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), "run: python -m experiments.api_page"


def public():
    for path in api_page.modules():
        for definition in api_page.definitions(path):
            yield path, definition
            if isinstance(definition, ast.ClassDef):
                yield from ((path, method) for method in api_page.methods(definition))


@pytest.mark.parametrize(("path", "definition"), [pytest.param(p, d, id=f"{p.stem}.{d.name}") for p, d in public()])
def test_everything_public_is_documented_and_typed(path, definition):
    assert ast.get_docstring(definition), f"{path}:{definition.lineno}"
    if isinstance(definition, ast.FunctionDef):
        arguments = (*definition.args.posonlyargs, *definition.args.args, *definition.args.kwonlyargs)
        untyped = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        assert not untyped and definition.returns, f"{path}:{definition.lineno} {untyped}"


def test_signature_and_sentence_are_those_of_the_source():
    function, kind = ast.parse(
        'def f(a: int, *, b: str = "x") -> float:\n    """Do it well. And more.\n\n    Args: none."""\n'
        'class C:\n    """One\n    sentence"""\n    x: int = 3\n    def __init__(self, y: int): ...\n'
        "    def m(self, z): ...\n    def _p(self): ...\n    def call(self): ...\n"
    ).body
    assert api_page.signature(function) == "f(a: int, *, b: str='x') -> float"
    assert api_page.first_sentence(function) == "Do it well."
    assert (api_page.signature(kind), api_page.first_sentence(kind)) == ("C(y: int)", "One sentence")
    assert [method.name for method in api_page.methods(kind)] == ["m"]
