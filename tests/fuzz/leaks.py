"""Finds what an answer must never hold: traces, paths of the node, SQL, names of exceptions."""

import re

SIGNS = {
    "traceback": r"Traceback \(most recent|File \"[^\"]*\", line \d+|\.py\b\", line",
    "path of the node": r"(?<![\w.:/])/(?:home|root|tmp|var|usr|opt|work|Users|proc|nix)/[\w.-]+"
    r"|\.mlx-hub/|site-packages|\w+\.(?:py|so)\b:\d+",
    "SQL": r"\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM)\s[^;]{0,200}\b(?:FROM|VALUES|SET|WHERE)\b"
    r"|psycopg|sqlalchemy|\[SQL:|SQLSTATE|violates \w+(?: \w+)? constraint",
    "name of an exception": r"\b[A-Z]\w*(?:Error|Exception|Warning)\b"
    r"|<class '|object at 0x[0-9a-f]+",
}
_COMPILED = {name: re.compile(pattern) for name, pattern in SIGNS.items()}


def leaks(text: str, sent: str = "") -> list[str]:
    """Name what leaks from a text, but for what the caller himself has sent."""
    found = []
    for name, pattern in _COMPILED.items():
        hits = [hit.group() for hit in pattern.finditer(text)]
        found += [f"{name}: {hit}" for hit in hits if hit not in sent]
    return found
