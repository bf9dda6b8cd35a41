"""What a call is, apart from how it travels: the sync and the async hub share all of it."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import update_wrapper
from inspect import Parameter, Signature, signature
from typing import Self

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from mlx_hub.client.errors import HubError, Invalid


@dataclass(frozen=True, slots=True)
class Call[R: Message]:
    """One rpc with its request; its path and its repeatability are the contract's own."""

    method: MethodDescriptor
    request: Message
    reply: type[R]

    @property
    def path(self) -> str:
        """The name of the rpc on the wire."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def wire(self) -> tuple[str, Callable[[Message], bytes], Callable[[bytes], R]]:
        """What a channel wants to know: the path, how to write requests and how to read replies."""
        return self.path, type(self.request).SerializeToString, self.reply.FromString

    @property
    def repeatable(self) -> bool:
        """Whether the contract promises that doing it twice is doing it once."""
        level: int = self.method.GetOptions().idempotency_level
        return level != MethodOptions.IDEMPOTENCY_UNKNOWN

    @property
    def resendable(self) -> bool:
        """Whether its request can be sent twice at all."""
        return True

    def amended(self, **fields: int | str) -> Self:
        """The same call with some fields of its request changed."""
        request = deepcopy(self.request)
        for name, value in fields.items():
            setattr(request, name, value)
        return replace(self, request=request)

    def without(self, field: str) -> Self:
        """The same call without a field of its request."""
        request = deepcopy(self.request)
        request.ClearField(field)
        return replace(self, request=request)

    def deadline(self, default: float, said: float | None = None) -> float | None:
        """Seconds until the caller gives up: what `within` said, else the hub's default."""
        return default if said is None else said


@dataclass(frozen=True, slots=True)
class Generation[R: Message](Call[R]):
    """A call that lasts as long as a model writes or a disk reads: only the caller knows when."""

    timeout: float | None

    def deadline(self, default: float, said: float | None = None) -> float | None:
        """Seconds until the caller gives up: its own, else what `within` said, or never."""
        return said if self.timeout is None else self.timeout


@dataclass(frozen=True, slots=True)
class Slow[R: Message](Call[R]):
    """A call that may take minutes."""

    seconds: float

    def deadline(self, default: float, said: float | None = None) -> float | None:
        """Seconds until the caller gives up: the call's own, unless the hub's are more."""
        return max(default, self.seconds) if said is None else said


@dataclass(frozen=True, slots=True)
class Pages[P: Message, I]:
    """A list that comes page by page."""

    call: Call[P]
    items: Callable[[P], Iterable[I]]
    token: Callable[[P], str]

    def after(self, page: P) -> "Pages[P, I] | None":
        """The rest of the list after a page, if there is a rest."""
        token = self.token(page)
        return replace(self, call=self.call.amended(page_token=token)) if token else None


@dataclass(frozen=True, slots=True)
class Find[P: Message, I]:
    """The one item of a list that is meant, or the error that says it is missing."""

    pages: Pages[P, I]
    matches: Callable[[I], bool]
    missing: HubError


def method(file: FileDescriptor, service: str, name: str) -> MethodDescriptor:
    """Look up an rpc in a contract file."""
    return file.services_by_name[service].methods_by_name[name]


def build[**A, C](make: Callable[A, C], *args: A.args, **kwargs: A.kwargs) -> C:
    """Make a call; a value that cannot even be encoded is the same error as one refused."""
    try:
        return make(*args, **kwargs)
    except ValueError as error:
        raise Invalid(str(error), reason="INVALID_FIELD") from error


def documented[V: Callable[..., object]](make: Callable[..., object]) -> Callable[[V], V]:
    """Give a verb the name, the docs and the parameters of the call it makes."""

    def apply(verb: V) -> V:
        update_wrapper(verb, make)
        itself = Parameter("self", Parameter.POSITIONAL_ONLY)
        parameters = [itself, *signature(make).parameters.values()]
        vars(verb)["__signature__"] = Signature(parameters)
        return verb

    return apply
