"""The machine's sensors: real ones here, a Mac's by stand-ins, and what Prometheus sees of them."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import CollectorRegistry

from services.chassis.host import darwin, metrics
from services.chassis.host.apple import Chip, open_chip
from services.chassis.host.metrics import HostMetrics
from services.chassis.host.sample import Gpu, HostSample, Space
from services.chassis.host.sensors import LocalSensors, volumes
from services.chassis.leases import Ledger
from services.chassis.settings import HubSettings
from tests.fixtures.scripted_host import GIB, ScriptedSensors, chip_library, mac, system_library


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "memory", 10 * GIB, lambda: 8 * GIB)


def seen(shown: HostMetrics) -> Callable[..., float | None]:
    registry = CollectorRegistry()
    registry.register(shown)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"mlx_hub_{name}", labels)

    return value


def test_this_machine_has_a_processor_memory_and_volumes(tmp_path: Path) -> None:
    pressure = tmp_path / "pressure"
    pressure.mkdir()
    (pressure / "memory").write_text(
        "some avg10=12.50 avg60=1.0 total=9\nfull avg10=0.00 total=0\n"
    )
    folders = volumes(HubSettings(home=tmp_path, archive_setting=tmp_path / "unmounted"))
    sample = LocalSensors(folders, pressure).sample()
    assert sample.cpu_ratio is not None
    assert 0 <= sample.cpu_ratio <= 1
    assert sample.memory is not None
    assert 0 < sample.memory.free <= sample.memory.size
    assert sample.swap is not None
    assert sample.stalled == {"memory": 0.125}
    assert set(sample.volumes) == {"home"}
    assert 0 < sample.volumes["home"].free <= sample.volumes["home"].size


def test_a_sensor_that_fails_says_none_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*asked: Any) -> Any:
        raise RuntimeError("no such device")

    (tmp_path / "cpu").write_text("nothing that was expected")
    here = LocalSensors({"home": tmp_path}, tmp_path)
    for name in ("swap_memory", "virtual_memory", "cpu_percent"):
        monkeypatch.setattr(psutil, name, broken)
    for _ in range(2):
        sample = here.sample()
    assert (sample.cpu_ratio, sample.memory, sample.swap, sample.stalled) == (None, None, None, {})
    assert sample.volumes
    assert len([r for r in caplog.records if "the swap sensor" in r.message]) == 1


@pytest.mark.parametrize(("number", "level"), [(1, 0), (2, 1), (4, 2), (3, None)])
def test_a_mac_tells_its_memory_pressure(number: int, level: int | None) -> None:
    assert darwin.pressure_level(system_library(number)) == level
    assert darwin.pressure_level(system_library(number, refused=-1)) is None


def test_a_mac_tells_its_gpu_and_watts_if_the_extra_is_there() -> None:
    read = open_chip(chip_library)
    assert read is not None
    assert read() == Chip(Gpu(busy_ratio=0.8, celsius=55.0), watts=17.5)

    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    assert open_chip(absent) is None


def test_prometheus_sees_the_machine_and_who_holds_its_memory(ledger: Ledger) -> None:
    shown = HostMetrics()
    value = seen(shown)
    assert value("host_cpu_ratio") is None
    with ledger.take("engine", 3 * GIB), ledger.take("job-7", GIB), ledger.wish("job-8", 9 * GIB):
        shown.look(ScriptedSensors(mac()), ledger)
    assert (value("host_cpu_ratio"), value("host_gpu_ratio")) == (0.5, 0.75)
    assert (value("host_memory_pressure_level"), value("host_thermal_level")) == (1, 2)
    assert (value("host_power_watts"), value("host_gpu_celsius")) == (38.5, 61.5)
    assert value("host_cpu_celsius") is None
    assert value("host_disk_free_bytes", folder="home") == 100 * GIB
    assert value("memory_leased_bytes", holder="engine") == 3 * GIB
    assert value("memory_leased_bytes", holder="job") == GIB
    assert value("memory_budget_bytes") == 10 * GIB
    assert value("memory_free_bytes") == 4 * GIB
    assert value("memory_wanted_bytes") == 9 * GIB


def test_a_machine_without_a_sensor_has_no_sample_of_it(ledger: Ledger) -> None:
    shown = HostMetrics()
    value = seen(shown)
    shown.look(ScriptedSensors(mac(gpu=None, watts=None, heat=None, swap=None)), ledger)
    names = ("gpu_ratio", "gpu_celsius", "power_watts", "thermal_level", "swap_size_bytes")
    assert [value(f"host_{name}") for name in names] == [None] * len(names)
    assert value("host_memory_free_bytes") == 12 * GIB
    shown.look(ScriptedSensors(mac(at=mac().at - 2 * metrics.STALE_S)), ledger)
    assert value("host_memory_free_bytes") is None  # too old to be true


def test_no_scrape_waits_for_a_sensor_that_hangs(ledger: Ledger) -> None:
    asked, go = threading.Event(), threading.Event()

    class Hanging:
        def sample(self) -> HostSample:
            asked.set()
            go.wait()
            return mac(memory=Space(GIB, 1))

    shown = HostMetrics()
    value = seen(shown)
    shown.start(Hanging, ledger)
    try:
        assert asked.wait(30)
        assert value("host_memory_free_bytes") is None
    finally:
        shown.stop()
        go.set()
