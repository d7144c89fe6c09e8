"""Words every message of the catalogue anew, to prove that nothing but the catalogue's own tests knows the wording.

`python -m tests.tools.reword_messages CHECKOUT` rewrites deployments/messages.py there; the placeholders stay, every
word and every mark between them changes. `make reword` does so in a copy and runs the tests on it.
"""

from __future__ import annotations

import ast
import codecs
import re
import sys
from pathlib import Path

CATALOGUE = Path("deployments", "messages.py")
FIELD = re.compile(r"(\{[^{}]*\})")
NOUN = re.compile(r"(?<=:#)[^}]*")
MARKS = str.maketrans({",": " /", ";": " /", ":": " /"})
WORDED_FUNCTIONS = ("describe_exit",)
WORDED_CONSTANTS = ("LIMIT", "NOTHING")


def reword_template(template: str) -> str:
    """ "{replicas:#replica} needed, {free} free" becomes "{replicas:#ercyvpn} arrqrq / {free} serr"."""
    return "".join(
        NOUN.sub(lambda noun: codecs.encode(noun[0], "rot13"), part)
        if FIELD.fullmatch(part)
        else codecs.encode(part, "rot13").translate(MARKS)
        for part in FIELD.split(template)
    )


class _Words(ast.NodeTransformer):
    """Rewords the strings below one node; the expressions within f-strings stay."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(reword_template(node.value)) if isinstance(node.value, str) else node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.FormattedValue:
        return node


class _Catalogue(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_message = isinstance(node.func, ast.Name) and node.func.id == "Message"
        return _Words().visit(node) if is_message else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return _Words().visit(node) if node.name in WORDED_FUNCTIONS else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        return _Words().visit(node) if names & set(WORDED_CONSTANTS) else self.generic_visit(node)


def reword(source: str) -> str:
    """The source of the catalogue, worded anew. Comments are lost."""
    return ast.unparse(ast.fix_missing_locations(_Catalogue().visit(ast.parse(source))))


if __name__ == "__main__":
    path = Path(sys.argv[1]) / CATALOGUE
    path.write_text(reword(path.read_text()))
