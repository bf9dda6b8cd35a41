"""Between the contract's messages about engines and what residency knows; pure functions."""

import time

from google.protobuf.timestamp_pb2 import Timestamp
from mlx_hub.inference.v1 import residency_pb2 as pb

from services.chassis import leases
from services.inference.drafts import Pair
from services.inference.messages import loading_to_proto
from services.inference.quarantine import Quarantine, Suspect
from services.inference.seat import Facts, Seat


def state_of(seat: Seat) -> pb.EngineState.ValueType:
    """Tell a seat's state; unspecified where nothing is in it and nothing went wrong."""
    if seat.starting:
        return pb.ENGINE_STATE_LOADING
    if seat.ready:
        if seat.stalled:
            return pb.ENGINE_STATE_STALLED
        return pb.ENGINE_STATE_BUSY if seat.users else pb.ENGINE_STATE_READY
    if seat.stopping:
        return pb.ENGINE_STATE_STOPPING
    if seat.reviving:
        return pb.ENGINE_STATE_RESTARTING
    return pb.ENGINE_STATE_FAILED if seat.trouble else pb.ENGINE_STATE_UNSPECIFIED


def state_name(state: pb.EngineState.ValueType) -> str:
    """Give a state's name for people and metrics; `none` for unspecified."""
    name = pb.EngineState.Name(state).removeprefix("ENGINE_STATE_").lower()
    return name if state else "none"


def engine_of(seat: Seat) -> pb.Engine:
    """Write a seat, as it is now."""
    now, since = time.time(), time.monotonic()
    facts = seat.ready.facts() if seat.ready else Facts()
    forecast = seat.lease.size if seat.lease else 0
    measured = forecast and facts.peak_bytes
    end = seat.expires()
    return pb.Engine(
        base_model=seat.base.name,
        base_digest=seat.base.digest,
        state=state_of(seat),
        reason=reason_of(seat),
        pinned=seat.pinned,
        users=seat.users,
        last_used_at=moment(now - since + seat.last_used) if seat.last_used else None,
        keep_alive_seconds=seat.keep_alive,
        keep_alive_until=moment(now - since + end) if end is not None else None,
        forecast_bytes=forecast,
        active_bytes=facts.active_bytes,
        peak_bytes=facts.peak_bytes,
        forecast_error=facts.peak_bytes / forecast - 1 if measured else 0,
        weight_bytes=facts.weight_bytes,
        adapters=facts.adapters,
        last_step_at=moment(facts.last_step_at) if facts.last_step_at else None,
        steps=facts.steps,
        running=facts.running,
        waiting=facts.waiting,
        pid=facts.pid,
        restarts=seat.restarts,
        loading=loading_to_proto(seat.loading) if seat.loading else None,
        draft_model=seat.base.draft.name if seat.base.draft and not facts.draft_failed else "",
    )


def reason_of(seat: Seat) -> str:
    """Say for people why a seat is as it is."""
    if seat.stalled:
        return "it has requests and makes no progress"
    if seat.starting and seat.loading and seat.loading.stage == "queued":
        return "it waits for memory that others hold"
    if seat.ready and seat.ready.facts().draft_failed:
        return "its draft model failed, and guesses again once the engine is loaded anew"
    return seat.trouble


def pair_to_proto(pair: Pair) -> pb.DraftPair:
    """Write who drafts for whom."""
    return pb.DraftPair(
        base_model=pair.base, draft_model=pair.draft, reason=pair.reason, refused=pair.refused
    )


def room_to_proto(room: leases.Room) -> pb.MemoryRoom:
    """Write the node's memory."""
    return pb.MemoryRoom(budget_bytes=room.budget, held_bytes=room.held, free_bytes=room.free)


def suspect_to_proto(suspect: Suspect, quarantine: Quarantine) -> pb.SuspectRequest:
    """Write a request that may have ended engines."""
    now = time.time()
    left = quarantine.refused_for(suspect)
    return pb.SuspectRequest(
        fingerprint=suspect.fingerprint,
        base_model=suspect.base_model,
        deaths=suspect.deaths,
        reason=suspect.reason,
        last_death_at=moment(now - quarantine.age(suspect)),
        refused_until=moment(now + left) if left else None,
    )


def moment(seconds: float) -> Timestamp:
    """Write a `time.time()`."""
    stamp = Timestamp()
    stamp.FromNanoseconds(int(seconds * 1e9))
    return stamp
