"""What a job needs beside what there is, and how that is said."""

from dataclasses import asdict, dataclass

from mlx_hub.trainer.v1 import training_memory_pb2 as pb

from services.chassis.errors import HubError
from services.chassis.leases import Room, gigabytes, out_of_memory
from services.trainer.forecast import Advice, Forecast
from services.trainer.memory_messages import forecast_to_proto


@dataclass(frozen=True)
class Plan:
    """What a job needs, what there is, and what would make it need less."""

    forecast: Forecast
    least: int
    """What it needs whatever its data are; all of the forecast once they were looked at."""
    advice: list[Advice]
    room: Room

    @property
    def fits_now(self) -> bool:
        """Tell whether it could begin at once."""
        return self.forecast.total_bytes <= self.room.free

    @property
    def fits_ever(self) -> bool:
        """Tell whether it could begin if nobody else held anything."""
        return self.least <= self.room.budget

    @property
    def leased(self) -> int:
        """Give the bytes to lease; all there are, where nothing better is known of the data."""
        return min(self.forecast.total_bytes, self.room.budget)

    def check(self) -> None:
        """Raise OUT_OF_MEMORY if it can never begin."""
        if not self.fits_ever:
            message = f"{self._need()}, more than all of the budget; {self._lower()}"
            # Waiting would change nothing.
            raise out_of_memory(message, self.forecast.total_bytes, self.room, None)

    def too_long(self, seconds: float) -> HubError:
        """Give the error of a job that has waited for so long."""
        message = (
            f"{self._need()} and {gigabytes(self.room.free)} were free after {seconds:.0f} s; "
            f"stop what holds the memory and train again, or {self._lower()}"
        )
        return out_of_memory(message, self.forecast.total_bytes, self.room)

    def _need(self) -> str:
        return (
            f"training needs {gigabytes(self.forecast.total_bytes)} of the "
            f"{gigabytes(self.room.budget)} for engines and training"
        )

    def _lower(self) -> str:
        ways = [f"{_change(one)} ({gigabytes(one.total_bytes)})" for one in self.advice]
        if not ways:
            return "use a smaller base model"
        return f"use a smaller base model, or {', or '.join(ways)}"


def plan_to_proto(plan: Plan) -> pb.ForecastTrainingResponse:
    """Render a plan."""
    room = plan.room
    return pb.ForecastTrainingResponse(
        forecast=forecast_to_proto(plan.forecast),
        room=pb.MemoryRoom(budget_bytes=room.budget, held_bytes=room.held, free_bytes=room.free),
        fits_now=plan.fits_now,
        fits_ever=plan.fits_ever,
        advice=[pb.MemoryAdvice(**asdict(advice)) for advice in plan.advice],
    )


def _change(advice: Advice) -> str:
    if advice.field == "grad_checkpoint":
        return "set grad_checkpoint"
    if advice.field == "quantize_bits":
        return f"set quantize_bits to {advice.value}"
    return f"lower {advice.field} to {advice.value}"
