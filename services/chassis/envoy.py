"""What the gateway's Envoy counts, in our words: some of its families, renamed, times in seconds.

Envoy tells of hundreds of families, without a word of what they mean, and measures in milliseconds.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

PATH = "/stats/prometheus"
_SAMPLE = re.compile(
    r"(?P<name>\w+?)(?P<part>_bucket|_sum|_count)?(\{(?P<labels>[^}]*)\})? (?P<value>\S+)"
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_MANAGER = "envoy_http_conn_manager_prefix"
_LABELS = {"envoy_response_code_class": "code_class", "envoy_cluster_name": "upstream"}


@dataclass(frozen=True)
class Family:
    """One of Envoy's families and what we call it; a histogram is in milliseconds there."""

    theirs: str
    name: str
    kind: str
    about: str
    labels: tuple[str, ...] = ()

    def head(self) -> str:
        """Give its first lines in Prometheus's text format."""
        return f"# HELP {self.name} {self.about}\n# TYPE {self.name} {self.kind}"

    def sample(self, found: re.Match[str]) -> str:
        """Write one of its samples in our words."""
        labels = dict(_LABEL.findall(found["labels"] or ""))
        kept = {_LABELS[name]: value for name, value in labels.items() if name in _LABELS}
        value, part = found["value"], found["part"] or ""
        if part == "_bucket":
            kept["le"] = _seconds(labels["le"])
        if part == "_sum":
            value = _seconds(value)
        shown = ",".join(f'{name}="{text}"' for name, text in kept.items())
        return f"{self.name}{part}{{{shown}}} {value}" if shown else f"{self.name}{part} {value}"


def _seconds(milliseconds: str) -> str:
    return milliseconds if milliseconds == "+Inf" else f"{float(milliseconds) / 1000:.10g}"


_TABLE = """
envoy_http_downstream_rq_xx | requests_total | counter | code_class
    | Requests answered, by the first digit of the HTTP status.
envoy_http_downstream_rq_active | requests_in_flight | gauge | | Requests and streams that run now.
envoy_http_downstream_rq_time | request_seconds | histogram |
    | From a request's start to the end of its answer.
envoy_http_downstream_cx_total | connections_total | counter |
    | Clients' connections that were accepted.
envoy_http_downstream_cx_active | connections_open | gauge |
    | Clients' connections that are open now.
envoy_http_local_rate_limit_rate_limited | rate_limited_total | counter |
    | Requests refused by MLX_HUB_REQUESTS_PER_SECOND.
envoy_http_rq_overload_local_reply | overload_refusals_total | counter |
    | Requests refused because the gateway's heap was full.
envoy_overload_envoy_overload_actions_stop_accepting_requests_active | overloaded | gauge |
    | 1 while requests are refused because the gateway's heap is full, else 0.
envoy_cluster_upstream_rq_total | upstream_requests_total | counter | upstream
    | Calls sent to a service.
envoy_cluster_upstream_rq_active | upstream_requests_in_flight | gauge | upstream
    | Calls and streams that run in a service now.
envoy_cluster_upstream_rq_time | upstream_request_seconds | histogram | upstream
    | From a call's way to a service to the end of its answer.
envoy_cluster_upstream_rq_retry | upstream_retries_total | counter | upstream
    | Calls sent to a service again.
envoy_cluster_upstream_rq_timeout | upstream_timeouts_total | counter | upstream
    | Calls that a service did not answer in the route's time.
envoy_cluster_upstream_rq_pending_overflow | upstream_overflows_total | counter | upstream
    | Calls refused by MLX_HUB_MAX_REQUESTS.
envoy_cluster_upstream_cx_active | upstream_connections_open | gauge | upstream
    | Connections to a service that are open now.
envoy_cluster_upstream_cx_connect_fail | upstream_connect_failures_total | counter | upstream
    | Connections to a service that failed.
"""


def _family(row: str) -> Family:
    theirs, name, kind, labels, about = (cell.strip() for cell in row.split("|"))
    return Family(theirs, f"mlx_hub_gateway_{name}", kind, about, tuple(labels.split()))


FAMILIES = tuple(map(_family, _TABLE.replace("\n    |", " |").strip().splitlines()))
KEPT = f"({'|'.join(f.theirs for f in FAMILIES)})(_bucket|_sum|_count)?"
"""A regular expression of their names in Envoy's own text."""


def translated(text: str) -> str:
    """Give the chosen families of Envoy's text, each with what it means."""
    found: dict[str, list[str]] = {family.theirs: [] for family in FAMILIES}
    ours = {family.theirs: family for family in FAMILIES}
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match and match["name"] in ours and not _is_foreign(match["labels"] or ""):
            found[match["name"]].append(ours[match["name"]].sample(match))
    return "\n".join(_lines(found)) + "\n" if text else ""


def _is_foreign(labels: str) -> bool:
    """Tell whether a sample is of the admin's own listener, or of Envoy's own calls."""
    return _MANAGER in labels and f'{_MANAGER}="gateway"' not in labels


def _lines(found: dict[str, list[str]]) -> Iterator[str]:
    for family in FAMILIES:
        yield family.head()
        yield from found[family.theirs]
