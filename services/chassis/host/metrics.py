"""What Prometheus sees of the machine and of its memory budget; one service of a node shows it."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.chassis.errors import HubError
from services.chassis.host.sample import HostSample, HostSensors
from services.chassis.leases import Ledger, Use
from services.chassis.thermal import LEVELS

log = logging.getLogger(__name__)

PAUSE_S = 5.0
# An older sample says nothing of now: a sensor hangs.
STALE_S = 60.0


@dataclass(frozen=True)
class Look:
    """The machine and its budget, looked at in one moment."""

    sample: HostSample
    use: Use | None


class HostMetrics(Collector):
    """Looks every few seconds on a thread of its own; a scrape waits for no sensor."""

    def __init__(self) -> None:
        """Know nothing."""
        self._look: Look | None = None
        self._stopped = threading.Event()

    def start(self, sensors: Callable[[], HostSensors], ledger: Ledger) -> None:
        """Begin to look, with what opens the sensors on the thread that reads them."""
        self._stopped = stopped = threading.Event()

        def run() -> None:
            opened = sensors()
            while not stopped.is_set():
                self.look(opened, ledger)
                stopped.wait(PAUSE_S)

        threading.Thread(target=run, name="host", daemon=True).start()

    def stop(self) -> None:
        """Look no more; does not wait for a sensor that hangs."""
        self._stopped.set()

    def look(self, sensors: HostSensors, ledger: Ledger) -> None:
        """Take a sample, and what is leased."""
        try:
            use = ledger.use()
        except (HubError, OSError) as error:
            log.warning("memory leases can't be read: %s", type(error).__name__)
            use = None
        self._look = Look(sensors.sample(), use)

    def describe(self) -> list[Metric]:
        """Name every family, without samples."""
        return list(_families(None))

    def collect(self) -> list[Metric]:
        """Give every family; what is not known has no sample."""
        look = self._look
        fresh = look is not None and time.time() - look.sample.at < STALE_S
        return list(_families(look if fresh else None))


type Values = dict[tuple[str, ...], float | None]


def _families(look: Look | None) -> Iterator[Metric]:
    """Give each family with the values that are known."""
    sample = look.sample if look else HostSample(at=0)
    for name, about, labels, values in (*_machine(sample), *_budget(look.use if look else None)):
        family = GaugeMetricFamily(f"mlx_hub_{name}", about, labels=labels)
        for labelled, value in values.items():
            if value is not None:
                family.add_metric(labelled, value)
        yield family


type Row = tuple[str, str, tuple[str, ...], Values]


def _machine(s: HostSample) -> Iterator[Row]:
    none: tuple[str, ...] = ()
    heat, gpu = s.heat, s.gpu
    level = LEVELS.index(heat.pressure) if heat and heat.pressure else None
    volumes = s.volumes.items()
    yield (
        "host_sampled_timestamp_seconds",
        "When the sensors were read.",
        none,
        {none: s.at or None},
    )
    yield "host_cpu_ratio", "Busy share of all processors, of 1.", none, {none: s.cpu_ratio}
    for kind, space, about in (
        ("memory", s.memory, "Memory"),
        ("swap", s.swap, "Swap"),
    ):
        size, free = (space.size, space.free) if space else (None, None)
        yield f"host_{kind}_size_bytes", f"{about} of the machine or container.", none, {none: size}
        yield f"host_{kind}_free_bytes", f"{about} that could be used now.", none, {none: free}
    about = "macOS's memory pressure: 0 normal, 1 warning, 2 critical."
    yield "host_memory_pressure_level", about, none, {none: s.pressure_level}
    about = "Linux's pressure: share of the last ten seconds in which something waited, of 1."
    stalled: Values = {(name,): share for name, share in s.stalled.items()}
    yield "host_pressure_ratio", about, ("resource",), stalled
    about = "macOS's thermal pressure: 0 nominal, 1 moderate, 2 heavy, 3 trapping, 4 sleeping."
    yield "host_thermal_level", about, none, {none: level}
    about = "The processor's hottest part."
    yield "host_cpu_celsius", about, none, {none: heat.celsius if heat else None}
    yield (
        "host_gpu_ratio",
        "Busy share of the GPU, of 1.",
        none,
        {none: gpu.busy_ratio if gpu else None},
    )
    yield "host_gpu_celsius", "The GPU's temperature.", none, {none: gpu.celsius if gpu else None}
    yield "host_power_watts", "What the machine draws.", none, {none: s.watts}
    about = "Size of the volume that holds a folder of the hub."
    yield "host_disk_size_bytes", about, ("folder",), {(n,): v.size for n, v in volumes}
    about = "Free space of the volume that holds a folder of the hub."
    yield "host_disk_free_bytes", about, ("folder",), {(n,): v.free for n, v in volumes}


def _budget(use: Use | None) -> Iterator[Row]:
    none: tuple[str, ...] = ()
    about = "Memory that engines and training may hold together."
    yield "memory_budget_bytes", about, none, {none: use.room.budget if use else None}
    about = "What is leased of the memory budget, by kind of holder: engine, export, job."
    leased: Values = {(kind,): size for kind, size in use.held.items()} if use else {}
    yield "memory_leased_bytes", about, ("holder",), leased
    about = "What could be leased of the memory budget now."
    yield "memory_free_bytes", about, none, {none: use.room.free if use else None}
    about = "Memory that jobs wait for."
    yield "memory_wanted_bytes", about, none, {none: use.wanted if use else None}
