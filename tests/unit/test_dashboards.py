"""The dashboards: made from code, complete, and asking for what there is."""

import json
import re
from pathlib import Path

import pytest

from deploy.grafana.__main__ import write
from services.chassis import envoy
from tests.fixtures.observed import (
    DASHBOARDS,
    ROOT,
    anchors,
    metrics_in,
    needs_promtool,
    panels,
    promtool,
    queries,
    rules,
)

BUCKETS = re.compile(r"_(bucket|sum|count)$")


def test_the_committed_ones_are_those_of_the_code(tmp_path: Path) -> None:
    write(tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [p.name for p in DASHBOARDS]
    for path in DASHBOARDS:
        made = (tmp_path / path.name).read_text()
        assert made == path.read_text(), f"{path.name} is stale: make dashboards"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_panel_says_what_it_shows_and_where_to_read_on(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == f"mlx-hub-{path.stem}"
    assert board["templating"]["list"][0]["type"] == "datasource"
    assert [link["tags"] for link in board["links"]] == [board["tags"]]
    found = list(panels(path))
    titles = [panel["title"] for panel in found]
    assert len(set(titles)) == len(titles) > 10
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    known = anchors("docs/operations.md")
    for panel in found:
        about, _, see = panel["description"].partition("\n\nSee docs/operations.md#")
        assert about.endswith(".") and see.removesuffix(".") in known, panel["title"]
        unit = panel["options"].get("yAxis", panel["fieldConfig"]["defaults"])["unit"]
        assert unit, panel["title"]
        assert panel["targets"], panel["title"]
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_fill_the_grid_and_do_not_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels(path):
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells


def test_every_metric_asked_for_is_one_that_there_is() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    there = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    there |= {rule["record"] for rule in rules("record")}
    there |= {family.theirs for family in envoy.FAMILIES}
    asked = {name: query.expr for query in queries() for name in metrics_in(query.expr)}
    asked |= {
        name: rule["expr"]
        for kind in ("alert", "record")
        for rule in rules(kind)
        for name in metrics_in(rule["expr"])
    }
    assert len(asked) > 60
    unknown = {
        name: expr
        for name, expr in asked.items()
        if not {name, BUCKETS.sub("", name)} & there and not name.startswith("process_")
    }
    assert unknown == {}


@needs_promtool
def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    file = tmp_path / "queries.yml"
    wrapped = [
        {"record": f"q{number}", "expr": query.expr, "labels": {"panel": query.panel}}
        for number, query in enumerate(queries())
    ]
    file.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": wrapped}]}))
    promtool("check", "rules", file)
