"""One trace of a job, from the call that created it to its published version."""

from opentelemetry import trace

from services.chassis import traces
from tests.fixtures.otlp import Receiver, Told
from tests.fixtures.trainer import OpenTrainer


def named(spans: list[Told], name: str) -> list[Told]:
    return [span for span in spans if span.name == name]


async def test_a_job_is_one_trace_from_its_creation_to_its_version(
    recorded: Receiver, open_trainer: OpenTrainer
) -> None:
    async with open_trainer() as trainer:
        with traces.span("caller", {}) as caller:
            metadata = (("traceparent", traces.traceparent()),)
            call = trainer.stub.CreateTrainingJob(trainer.request(), metadata=metadata)
            created = await call
        job, _ = await trainer.end(created.id)
        assert job.version_id
    trace_id = trace.format_trace_id(caller.get_span_context().trace_id)
    spans = recorded.trace(trace_id, {"caller", "training attempt"}.issubset)
    by_id = {span.span_id: span for span in spans}
    parents = {s.name: by_id[s.parent_id].name for s in spans if s.parent_id in by_id}
    creating = "mlx_hub.trainer.v1.TrainerService/CreateTrainingJob"
    publishing = "mlx_hub.registry.v1.RegistryService/PublishVersion"
    assert parents[creating] == "caller"
    assert parents["training attempt"] == creating
    [attempt] = named(spans, "training attempt")
    assert attempt.attributes["mlx_hub.job.id"] == created.id
    assert attempt.attributes["mlx_hub.job.status"] == "completed"
    own = {span.name: span for span in spans if span.parent_id == attempt.span_id}
    stages = ["queue", "claim", "prepare", "train", "checkpoint", "evaluate", "export", "publish"]
    assert set(stages) <= set(own)
    sides = [by_id[s.parent_id].name for s in named(spans, publishing)]
    assert sorted(sides) == sorted(["publish", publishing]), "the client's and the server's"
    trained = [span.attributes for span in named(spans, "train")]
    steps = [range(t["mlx_hub.step.first"], t["mlx_hub.step.last"] + 1) for t in trained]
    assert [step for some in steps for step in some] == list(range(1, 11)), "each step once"
    assert 5 <= len(steps) < 10, "one for the steps up to each checkpoint"
    assert all(span.begun <= span.ended for span in spans)
    assert {span.status for span in spans} == {0}


async def test_a_cancelled_job_says_so(recorded: Receiver, open_trainer: OpenTrainer) -> None:
    async with open_trainer() as trainer:
        with traces.span("caller", {}) as caller:
            metadata = (("traceparent", traces.traceparent()),)
            request = trainer.request(epochs=1000)
            created = await trainer.stub.CreateTrainingJob(request, metadata=metadata)
        async for frame in trainer.watch(created.id):
            if frame.HasField("step"):
                break
        await trainer.trainer.queue.cancel(created.id)
        await trainer.end(created.id)
    trace_id = trace.format_trace_id(caller.get_span_context().trace_id)
    spans = recorded.trace(trace_id, {"training attempt"}.issubset)
    [attempt] = named(spans, "training attempt")
    assert (attempt.attributes["mlx_hub.job.status"], attempt.status) == ("cancelled", 0)
    assert attempt.attributes["error.type"] == "CANCELLED"
