"""The stack: starts everything in order, keeps it running, and leaves nothing behind."""

import contextlib
import functools
import logging
import os
import select
import time
from collections.abc import Callable, Iterator

from services.chassis.settings import mask
from services.stack import importing, plan, prometheus, readiness, starter
from services.stack.errors import StackError
from services.stack.home import Home, check_addresses, check_space
from services.stack.member import Member, Runnable
from services.stack.ports import HOST, choose
from services.stack.postgres import Postgres
from services.stack.processes import Process
from services.stack.settings import StackSettings

log = logging.getLogger(__name__)

READY_SECONDS = 180.0
PAUSE_SECONDS = 0.1
# Those of one group drain at the same time.
_STOP_ORDER = (
    ("gateway", prometheus.NAME),
    ("trainer", "inference"),
    ("registry",),
    ("migrations",),
    ("postgres",),
)

type Say = Callable[[str], None]


class Stopped(Exception):
    """The stack was told to stop while it started."""


class Stack:
    """Everything that `mlx-hub up` runs on one home folder."""

    def __init__(self, settings: StackSettings, say: Say, lifeline: int | None = None) -> None:
        """`say` hears each step; the stack also stops when the pipe `lifeline` closes."""
        self.settings = settings
        self.home = Home(settings.home)
        self._listener = say
        self._lifeline = lifeline
        self._stopping = False  # an Event's lock could be held when a signal handler sets it
        self._members: list[Member] = []

    def request_stop(self) -> None:
        """Make `run` come to its end; safe in a signal handler."""
        self._stopping = True

    def run(self, serving: Callable[[int], None]) -> None:
        """Start, call `serving` with the gateway's port, and supervise until told to stop."""
        with self.home.claim(), self._everything_stopped_at_the_end():
            check_addresses(self.settings)
            check_space(self.settings)
            if self.settings.observability:
                prometheus.binary()  # refused before anything starts
            self.settings = choose(self.settings)
            database = self._start()
            self.home.write_ports(plan.ports(self.settings, database))
            serving(self.settings.port)
            self._supervise()

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Run no more than the migrated database, for an import while no stack runs."""
        with self.databases() as (database, tracking):
            self.migrate(database, tracking)
            yield database

    @contextlib.contextmanager
    def databases(self) -> Iterator[tuple[str, str]]:
        """Run no more than the databases, as they are: the hub's and MLflow's."""
        with self.home.claim(), self._everything_stopped_at_the_end():
            check_space(self.settings)
            yield self._start_database()

    def migrate(self, database: str, tracking: str) -> None:
        """Bring the hub's database to this release's revision."""
        self._migrate(plan.environment(self.settings, database, tracking))

    def _say(self, step: str) -> None:
        """Tell a step; a listener that is gone must not keep the stack from stopping."""
        log.info(step)
        with contextlib.suppress(OSError):
            self._listener(step)

    def _start(self) -> str:
        first = None if importing.has_base_model(self.settings) else starter.source()
        database, tracking = self._start_database()
        env = plan.environment(self.settings, database, tracking)
        self._migrate(env)
        if first:
            importing.bring_in(self.settings, first, starter.NAME, database, self._say)
        parts = plan.processes(env, self.home.logs)
        for names in (("registry",), ("trainer", "inference")):
            for name in names:
                self._launch(parts[name])
            for name in names:
                ready = functools.partial(readiness.service_serves, self.settings, name)
                self._await(parts[name], ready)
        self._launch(parts["gateway"])
        self._await(parts["gateway"], functools.partial(readiness.gateway_serves, self.settings))
        if self.settings.observability:
            self._observe()
        return database

    def _observe(self) -> None:
        watcher = prometheus.process(self.settings, self.home.logs)
        self._launch(watcher)
        self._await(watcher, functools.partial(readiness.prometheus_serves, self.settings))
        self._say(f"metrics and alerts at http://{HOST}:{self.settings.prometheus_port}")

    def _start_database(self) -> tuple[str, str]:
        """Give the URL of the hub's database and of MLflow's."""
        self._check()
        if self.settings.database_url:
            self._say(f"using the database {mask(self.settings.database_url)}")
            return self.settings.database_url, self.settings.mlflow_tracking_uri
        postgres = embedded(self.settings, self.home)
        self._launch(postgres)
        for name in ("mlx_hub", "mlflow"):
            postgres.ensure_database(name)
        self._say("postgres serves")
        tracking = self.settings.mlflow_tracking_uri or postgres.url("mlflow")
        return postgres.url("mlx_hub"), tracking

    def _migrate(self, env: dict[str, str]) -> None:
        migration = plan.migration(env, self.home.logs)
        self._launch(migration)
        while (code := migration.exit_code()) is None:
            self._check()
            time.sleep(PAUSE_SECONDS)
        self._members.pop()
        if code:
            raise StackError(f"The database can't be used: {migration.last_lines()}")
        self._say("database migrated")

    def _launch(self, part: Runnable) -> None:
        self._check()
        self._members.append(Member(part))
        part.start()
        self._record()

    def _await(self, process: Process, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            self._check()
            code = process.exit_code()
            if code is not None or time.monotonic() > deadline:
                why = "did not become ready" if code is None else f"ended with code {code}"
                raise StackError(
                    f"The {process.name} {why}. The end of {process.log}:\n{process.last_lines()}"
                )
            time.sleep(PAUSE_SECONDS)
        self._say(f"{process.name} serves")

    def _check(self) -> None:
        if self._done():
            raise Stopped

    def _done(self) -> bool:
        return self._stopping or self._abandoned()

    def _abandoned(self) -> bool:
        """Tell whether whoever started this stack is gone."""
        if self._lifeline is None:
            return False
        readable, _, _ = select.select([self._lifeline], [], [], 0)
        return bool(readable) and os.read(self._lifeline, 1) == b""

    def _supervise(self) -> None:
        while not self._done():
            time.sleep(PAUSE_SECONDS)
            started = [member.tend() for member in self._members]
            if any(started):
                self._record()

    def _record(self) -> None:
        parts = [member.runnable for member in self._members]
        self.home.record_children([p.pid for p in parts if isinstance(p, Process) and p.pid])

    @contextlib.contextmanager
    def _everything_stopped_at_the_end(self) -> Iterator[None]:
        try:
            yield
        except Stopped:
            log.info("told to stop while starting")
        finally:
            self.home.forget_ports()
            self._stop()
            self.home.end_leftovers()

    def _stop(self) -> None:
        """Stop in reverse order; the trainer and the inference service together."""
        grace = self.settings.drain_seconds + 20
        parts = {member.runnable.name: member.runnable for member in self._members}
        for names in _STOP_ORDER:
            group = [parts[name] for name in names if name in parts]
            for part in group:
                part.ask_to_stop()
            for part in group:
                part.stop(grace)
                log.info("%s stopped", part.name)


def embedded(settings: StackSettings, home: Home) -> Postgres:
    """Give the home's own Postgres."""
    return Postgres(settings.home / "postgres", home.logs / "postgres.log")
