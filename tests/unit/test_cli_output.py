"""What commands print is what the REST API prints, and a watched state is told once."""

import io

from mlx_hub.cli.live import follow
from mlx_hub.cli.output import plain
from mlx_hub.registry.v1.lineage_pb2 import ArtifactFile, Lineage
from mlx_hub.registry.v1.version_pb2 import ModelVersion
from mlx_hub.trainer.v1.training_event_pb2 import TrainingEvent
from mlx_hub.trainer.v1.training_job_pb2 import JobStatus, TrainingJob
from rich.console import Console


def test_whole_numbers_have_no_point() -> None:
    told = plain(ModelVersion(size_bytes=4894, metrics={"loss": 0.25, "steps": 3}))
    assert repr(told["size_bytes"]) == "4894"
    assert repr(told["metrics"]) in ("{'loss': 0.25, 'steps': 3}", "{'steps': 3, 'loss': 0.25}")
    inner = plain(Lineage(files=[ArtifactFile(name="a", size_bytes=2e6)]))
    assert repr(inner["files"]) == "[{'name': 'a', 'size_bytes': 2000000, 'sha256': ''}]"
    infinite = plain(ModelVersion(metrics={"loss": float("inf")}))
    assert infinite["metrics"] == {"loss": "Infinity"}


def test_a_state_that_comes_twice_is_told_once() -> None:
    queued = TrainingJob(id=3, status=JobStatus.JOB_STATUS_QUEUED)
    running = TrainingJob(id=3, status=JobStatus.JOB_STATUS_RUNNING)
    jobs = [queued, queued, running, queued]
    out = io.StringIO()
    follow([TrainingEvent(job=job) for job in jobs], Console(file=out, width=160))
    lines = out.getvalue().splitlines()
    assert lines == ["job 3 is queued", "job 3 is running", "job 3 is queued"]
