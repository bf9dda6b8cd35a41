"""Rules of the house that no linter knows."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENDORED = re.compile(r"_pb2|^proto/(google|buf)/|^client/buf/|\.lock$|^frontend/")
MAX_LINES = 300
MAX_FUNCTION = 40
MAX_SERVICER_METHOD = 12
MAX_FIXTURE_LINES = 100
MAX_PROTO_LINES = 250


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    return [f for f in listed if f and (ROOT / f).is_file()]


FILES = tracked()
OWN = [f for f in FILES if not VENDORED.search(f)]
PYTHON = [f for f in OWN if f.endswith(".py")]
# A word list that must not match itself.
FORBIDDEN = {
    "pick" + "le": r"^\s*(import|from) (pick" + r"le|cPick" + r"le|dill|cloudpick" + r"le)\b",
    "torch": r"^\s*(import|from) torch\b",
    "remote code": r"trust_remote" + r"_code\s*=\s*True",
    "shell": r"shell\s*=\s*" + r"True",
    "path of a machine": r"/(work|root)/" + r"(main|\.pyenv|shared|\.library)",
    "package index": r"(pypi\." + r"org|files\.python" + r"hosted|registry\.npm" + r"js|"
    r"--index" + r"-url|extra-index" + r"-url)",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_words(name: str) -> None:
    pattern = re.compile(FORBIDDEN[name], re.MULTILINE)
    scanned = [f for f in FILES if not f.endswith((".jsonl", ".png", ".woff2"))]
    hits = [f for f in scanned if pattern.search((ROOT / f).read_text(errors="replace"))]
    assert hits == []


@pytest.mark.parametrize("lock", [f for f in FILES if f.endswith(".lock")])
def test_locks_name_no_address_and_every_hash(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    pins = re.findall(r"^[A-Za-z0-9._-]+(?:\[[^]]*\])?==[^\n]*\\\n", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if re.match(r"^[A-Za-z0-9]", line)]
    assert len(pins) == len(lines), "a requirement without a hash"


def test_file_budgets() -> None:
    def lines(file: str) -> int:
        return len((ROOT / file).read_text().splitlines())

    assert [f for f in PYTHON if lines(f) > MAX_LINES] == []
    assert [f for f in PYTHON if f.startswith("tests/fixtures/") and lines(f) > 100] == []
    protos = [f for f in OWN if f.endswith(".proto")]
    assert [f for f in protos if lines(f) > MAX_PROTO_LINES] == []


def functions(file: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse((ROOT / file).read_text())
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def test_function_budgets() -> None:
    own = [f for f in PYTHON if not f.startswith("migrations/versions/")]
    long = [f"{f}:{d.name}" for f in own for d in functions(f) if length(d) > MAX_FUNCTION]
    assert long == []


def test_servicer_methods_only_unpack_call_and_pack() -> None:
    servicers = [f for f in PYTHON if re.search(r"^services/.*/servicer(\.py|/)", f)]
    assert servicers
    for file in servicers:
        tree = ast.parse((ROOT / file).read_text())
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.Try)], file
        for method in functions(file):
            body = [n for n in method.body if not isinstance(n, ast.Expr) or _is_call(n)]
            size = (method.end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert size <= MAX_SERVICER_METHOD, f"{file}:{method.name} has {size} lines"


def _is_call(node: ast.Expr) -> bool:
    return not isinstance(node.value, ast.Constant)
