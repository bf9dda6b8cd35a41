"""The alerts: each tested by promtool, each with somewhere to read on; Prometheus's settings."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from services.stack import prometheus
from services.stack.settings import StackSettings
from tests.fixtures.observed import ALERTS, RULE_TESTS, anchors, needs_promtool, promtool, rules

RECORDED = re.compile(r"[a-z_]+:[a-z_]+:[a-z0-9_]+")


@pytest.mark.parametrize("rule", rules("alert"), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_is_wrong_and_where_to_read_on(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    told = rule["annotations"]
    assert told["summary"].endswith(".")
    assert "{{" in told["summary"] + told["description"], "it names no value"
    page, _, anchor = told["runbook_url"].partition("#")
    assert anchor in anchors(page)


def test_each_alert_is_shown_to_fire_and_to_keep_silent() -> None:
    fires: Counter[str] = Counter()
    silent: Counter[str] = Counter()
    for file in RULE_TESTS:
        for case in yaml.safe_load(file.read_text())["tests"]:
            for expected in case["alert_rule_test"]:
                seen = fires if expected["exp_alerts"] else silent
                seen[expected["alertname"]] += 1
    assert fires.keys() == silent.keys() == {rule["alert"] for rule in rules("alert")}


def test_recorded_series_are_named_by_level_metric_and_operation() -> None:
    names = [rule["record"] for rule in rules("record")]
    assert names and all(RECORDED.fullmatch(name) for name in names)


@needs_promtool
def test_promtool_passes_the_rules_and_their_tests() -> None:
    promtool("check", "rules", ALERTS)
    promtool("test", "rules", *RULE_TESTS)


@needs_promtool
def test_the_configuration_is_one_that_prometheus_reads(tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    settings = StackSettings(home=tmp_path, trainer_metrics_port=12345, scrape_seconds=7)
    file.write_text(prometheus.render(settings))
    promtool("check", "config", file)
    config = yaml.safe_load(file.read_text())
    assert config["global"]["scrape_interval"] == "7s"
    targets = {job["job_name"]: job["static_configs"] for job in config["scrape_configs"]}
    assert targets["trainer"] == [{"targets": ["127.0.0.1:12345"]}]


def test_what_prometheus_keeps_is_bounded_and_only_this_machine_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "binary", lambda: "prometheus")
    settings = StackSettings(home=tmp_path, prometheus_port=9099, prometheus_retention_days=3)
    words = prometheus.command(settings, tmp_path / "prometheus", tmp_path / "prometheus.yml")
    assert {
        "--web.listen-address=127.0.0.1:9099",
        "--web.cors.origin=http://127.0.0.1:9099",
        "--storage.tsdb.retention.time=3d",
        "--storage.tsdb.retention.size=2048MB",
        f"--storage.tsdb.path={tmp_path}/prometheus/data",
    } <= set(words)
