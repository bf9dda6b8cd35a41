"""Data comes in from a user's own file, is refused by line, and goes again."""

import json
from pathlib import Path

from tests.e2e.rest import call
from tests.fixtures.stack import RunningStack

ROWS = [{"prompt": f"Number {n}?", "completion": "It is " + "9" * 90} for n in range(50_000)]


def test_a_large_file_is_uploaded_by_command_and_by_rest(
    stack: RunningStack, tmp_path: Path
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    done = stack.mlx_hub("datasets", "upload", "by-command", str(path), "--json")
    assert done.returncode == 0, done.stderr
    by_command = json.loads(done.stdout)
    assert (by_command["rows"], by_command["path"]) == (len(ROWS), "")
    by_rest = call(f"{stack.url}/datasets:upload?name=by-rest", path.read_bytes())
    assert by_rest.status == 201
    assert by_rest.json["checksum"] == by_command["checksum"]
    assert call(by_url := f"{stack.url}{by_rest.headers['location']}").json == by_rest.json
    assert call(by_url, method="DELETE").status == 200
    assert call(by_url).status == 404
    done = stack.mlx_hub("datasets", "delete", "by-command")
    assert done.returncode == 0, done.stderr


def test_bad_lines_are_named_to_people_and_programs(stack: RunningStack, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "a"}\n{"text": ""}\n{"prompt": "p", "completion": "c"}\n')
    done = stack.mlx_hub("datasets", "upload", "bad", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: line 2: `text` must be text and not empty")
    reply = call(f"{stack.url}/datasets:upload?name=bad", path.read_bytes())
    info, bad = reply.json["details"]
    assert (reply.status, info["reason"], info["metadata"]) == (
        400,
        "DATASET_ROW_INVALID",
        {"line": "2"},
    )
    assert [v["field"] for v in bad["field_violations"]] == ["line 2", "line 3"]
