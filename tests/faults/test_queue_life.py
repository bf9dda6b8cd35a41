"""The real queue under random histories: two trainers, leases that run out, tokens gone stale."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.chassis.errors import Aborted, FailedPrecondition
from services.trainer.domain import LEGAL, JobStatus, Token, TrainingJob
from services.trainer.queue import JobQueue
from services.trainer.reports import Progress, Step
from tests.fixtures.jobs import Jobs

NODES = ("n", "m")
PAUSE = timedelta(hours=1)


class QueueLife(RuleBasedStateMachine):
    """Every call that trainers and users make, in any order, on a Postgres of its own."""

    jobs: Jobs
    loop: asyncio.AbstractEventLoop

    def wait[T](self, call: Awaitable[T]) -> T:
        async def run() -> T:
            return await call

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result()

    @initialize()
    def begin(self) -> None:
        self.queue = JobQueue(self.jobs.engine, timedelta(hours=1), PAUSE)
        self.wait(self.jobs.as_admin("TRUNCATE trainer.job_events, trainer.jobs CASCADE"))
        self.live: dict[int, Token] = {}
        self.stale: list[Token] = []
        self.state: dict[int, TrainingJob] = {}
        self.versions = 0

    def look(self) -> dict[int, TrainingJob]:
        return {job.id: job for job in self.wait(self.jobs.store.list(100, None, 0, None))}

    def drop(self, job_id: int) -> None:
        if token := self.live.pop(job_id, None):
            self.stale.append(token)

    def write(self, call: Awaitable[Any], token: Token) -> TrainingJob | None:
        """Write under a live token; what is illegal is refused without effect."""
        try:
            job = self.wait(call)
        except FailedPrecondition as error:
            assert error.reason == "JOB_STATE"
            return None
        if isinstance(job, TrainingJob) and job.status is not JobStatus.RUNNING:
            self.drop(token.job_id)
        return job if isinstance(job, TrainingJob) else None

    @rule(attempts=st.integers(1, 3))
    def create(self, attempts: int) -> None:
        if len(self.state) < 6:
            self.wait(self.jobs.create(max_attempts=attempts))

    @rule(owner=st.sampled_from("ab"), node=st.sampled_from(NODES), dead=st.booleans())
    def claim(self, owner: str, node: str, dead: bool) -> None:
        """Another owner may be known to be dead; the oldest that is due is taken."""
        gone = {"b" if owner == "a" else "a"} if dead else set()
        job = self.wait(self.queue.claim(owner, node, gone))
        for token in list(self.live.values()):
            if token.owner in gone:
                self.drop(token.job_id)
        now = self.look()
        queued = [
            j.id for j in now.values() if j.status is JobStatus.QUEUED and not j.next_attempt_at
        ]
        if job is None:
            busy = any(j.node == node and j.status is JobStatus.RUNNING for j in now.values())
            assert busy or not queued, "an idle node leaves a due job in the queue"
            return
        assert job.id < min(queued, default=job.id + 1), "an older job that was due is left behind"
        assert job.attempt == self.state[job.id].attempt + 1
        self.live[job.id] = job.token

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        """Leases are moved in Postgres, by whose clock they go; the next claim sees it."""
        job_id = data.draw(st.sampled_from(sorted(self.live)))
        self.wait(self.jobs.expire(job_id))
        self.wait(self.queue.claim("c", "nowhere"))
        found = self.look()
        for job in found.values():
            if job.status is JobStatus.RUNNING and job.lease_owner == "c":
                self.wait(self.queue.hand_back(job.token))
                self.stale.append(job.token)
        self.drop(job_id)

    @precondition(lambda self: self.state)
    @rule(data=st.data())
    def pause_ends(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.state)))
        due = "UPDATE trainer.jobs SET next_attempt_at = NULL WHERE status = 'queued' AND id ="
        self.wait(self.jobs.as_admin(f"{due} {job_id}"))

    @precondition(lambda self: self.state)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.state)))
        try:
            self.wait(self.queue.cancel(job_id))
        except FailedPrecondition:
            now = self.state[job_id]
            assert now.terminal or now.publishing_at is not None

    @precondition(lambda self: self.live)
    @rule(
        data=st.data(),
        name=st.sampled_from(
            ["heartbeat", "publish", "cancelled", "hand_back", "lose", "fail", "record"]
        ),
    )
    def work(self, data: st.DataObject, name: str) -> None:
        token = self.live[data.draw(st.sampled_from(sorted(self.live)))]
        arguments: dict[str, list[Any]] = {
            "lose": ["killed"],
            "fail": ["UNTRAINABLE", "no"],
            "record": [Progress(1, 9), [Step(1, 9, 1, 1.0, 0.1, 1.0, 1.0)] * 2],
        }
        self.write(getattr(self.queue, name)(token, *arguments.get(name, [])), token)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), name=st.sampled_from(["heartbeat", "publish", "hand_back", "cancelled"]))
    def wake(self, data: st.DataObject, name: str) -> None:
        """One that was thought dead goes on."""
        token = data.draw(st.sampled_from(self.stale))
        try:
            self.wait(getattr(self.queue, name)(token))
        except Aborted as error:
            assert error.reason == "STALE_ATTEMPT"
        else:
            raise AssertionError(f"{name} by {token}")

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "state"):
            return
        now = self.look()
        for job in now.values():
            old = self.state.get(job.id)
            if old is not None and job.status is not old.status and job.attempt <= old.attempt + 1:
                assert job.status in LEGAL[old.status] or job.attempt > old.attempt
            assert old is None or not old.terminal or job == old
            events = self.wait(self.jobs.store.events(job.id, 0, 10_000))
            last = self.wait(self.jobs.store.position(job.id))[1]
            assert [event.sequence for event in events] == list(range(1, last + 1))
            attempts = [event.attempt for event in events]
            assert attempts == sorted(attempts), "an older attempt writes behind a newer one"
            assert job.next_attempt_at is None or job.status is JobStatus.QUEUED
        running = [j for j in now.values() if j.status is JobStatus.RUNNING]
        assert len({j.node for j in running}) == len(running)
        assert {j.id: j.token for j in running} == self.live
        self.state = now


async def test_a_queue_life(jobs: Jobs) -> None:
    """The machine's plain methods run on a thread, the queue on this loop."""
    machine = type("Life", (QueueLife,), {"jobs": jobs, "loop": asyncio.get_running_loop()})
    often = settings(
        max_examples=6,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, machine, settings=often)
