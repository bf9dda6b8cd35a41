"""The machine: memory and its budget, disks, processors, heat, and the hub's own processes."""

from grafana_foundation_sdk.builders import dashboard

from deploy.grafana.panels import Panel, Query, graph, number, sheet

_SERVICES = '{job=~"registry|trainer|inference|prometheus"}'


free = "mlx_hub_host_memory_free_bytes / mlx_hub_host_memory_size_bytes"

_NOW: list[Panel] = [
    number(
        "Memory free",
        "What could be used without swapping.",
        "percentunit",
        free,
        see="hostmemorylow",
        limits=(0.05, 0.15),
        falling=True,
    ),
    number(
        "Memory budget free",
        "What engines and training could still lease.",
        "bytes",
        "mlx_hub_memory_free_bytes",
        see="memorybudgetshort",
    ),
    number(
        "Fullest disk",
        "Free share of the volume of the hub's with the least.",
        "percentunit",
        "min(mlx_hub_host_disk_free_bytes / mlx_hub_host_disk_size_bytes)",
        see="disknearlyfull",
        limits=(0.05, 0.1),
        falling=True,
    ),
    number(
        "Processors busy",
        "Of all.",
        "percentunit",
        "mlx_hub_host_cpu_ratio",
        see="cooling-down",
        limits=(0.8, 0.95),
    ),
    number(
        "Swap used",
        "Weights in swap make every token wait for the disk.",
        "bytes",
        "mlx_hub_host_swap_size_bytes - mlx_hub_host_swap_free_bytes",
        see="hostmemorylow",
    ),
    number(
        "Sensors read",
        "How long ago.",
        "s",
        "time() - mlx_hub_host_sampled_timestamp_seconds",
        see="hostsensorssilent",
        limits=(30, 60),
    ),
]

_MEMORY: list[Panel] = [
    graph(
        "Memory of the machine",
        "Or of the container.",
        "bytes",
        [
            Query("mlx_hub_host_memory_size_bytes", "size"),
            Query("mlx_hub_host_memory_size_bytes - mlx_hub_host_memory_free_bytes", "in use"),
        ],
        see="hostmemorylow",
    ),
    graph(
        "The hub's budget",
        "What is promised to engines and to training, of MLX_HUB_MEMORY_BUDGET_BYTES.",
        "bytes",
        [
            Query("mlx_hub_memory_budget_bytes", "budget"),
            Query("mlx_hub_memory_budget_bytes - mlx_hub_memory_free_bytes", "not free"),
            Query("mlx_hub_memory_leased_bytes", "{{holder}}"),
            Query("mlx_hub_memory_wanted_bytes", "waited for"),
        ],
        see="memory",
    ),
    graph(
        "Pressure",
        "Linux: the share of time in which something waited. macOS: memory pressure, a half "
        "at warning, all at critical.",
        "percentunit",
        [
            Query(
                "mlx_hub_host_pressure_ratio or mlx_hub_host_memory_pressure_level / 2 "
                "or on() vector(0)",
                "{{resource}}",
            ),
        ],
        see="hostmemorylow",
        limits=(0.5,),
    ),
]

sensors = "mlx_hub_host_(cpu_celsius|gpu_celsius|thermal_level|power_watts)"

_WORK: list[Panel] = [
    graph(
        "Busy",
        "Processors, and the GPU where a sensor tells.",
        "percentunit",
        [Query('{__name__=~"mlx_hub_host_(cpu|gpu)_ratio"}', "{{__name__}}")],
        see="cooling-down",
    ),
    graph(
        "Heat and watts",
        "Degrees Celsius, watts, macOS's thermal level (0 nominal to 4 sleeping), and whether "
        "training pauses for it.",
        "none",
        [Query(f'{{__name__=~"{sensors}|mlx_hub_training_cooling"}}', "{{__name__}}")],
        see="hosttoohot",
    ),
    graph(
        "Processor time by service",
        "1 is one processor; engines and training children are processes of their own.",
        "none",
        [Query(f"rate(process_cpu_seconds_total{_SERVICES}[$__rate_interval])", "{{job}}")],
        see="memory",
    ),
]

_REST: list[Panel] = [
    graph(
        "Disks free",
        "Of the volumes that the hub's folders lie on.",
        "bytes",
        [Query("mlx_hub_host_disk_free_bytes", "{{folder}}")],
        see="disknearlyfull",
    ),
    graph(
        "Memory of the services",
        "Resident; without their children.",
        "bytes",
        [Query(f"process_resident_memory_bytes{_SERVICES}", "{{job}}")],
        see="memory",
    ),
    graph(
        "Open files",
        "Of the services, as a share of what they may open.",
        "percentunit",
        [Query(f"process_open_fds{_SERVICES} / process_max_fds{_SERVICES}", "{{job}}")],
        see="servicedown",
        limits=(0.8,),
    ),
]


def make() -> dashboard.Dashboard:
    """Make the dashboard."""
    return sheet(
        "host",
        "Host",
        "The machine under the hub. What it has no sensor for is not drawn.",
        [
            ("Now", _NOW),
            ("Memory", _MEMORY),
            ("Processors and heat", _WORK),
            ("Disks and processes", _REST),
        ],
    )
