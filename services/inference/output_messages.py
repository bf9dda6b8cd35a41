"""Between the contract's tools and constraints and the domain's values; pure functions."""

from mlx_hub.inference.v1 import completion_pb2 as completion_pb
from mlx_hub.inference.v1 import generation_pb2 as pb
from mlx_hub.inference.v1 import tools_pb2

from services.inference.domain import Reason, Turn
from services.inference.output import Output, Tool, ToolCall

_REASONS: dict[Reason, completion_pb.FinishReason.ValueType] = {
    "stop": completion_pb.FINISH_REASON_STOP,
    "length": completion_pb.FINISH_REASON_LENGTH,
    "tool_calls": completion_pb.FINISH_REASON_TOOL_CALLS,
}


def output_of(request: pb.GenerateRequest) -> Output:
    """Read what a request wants its answer to be."""
    named = request.required_tool
    return Output(
        response_schema=request.response_schema,
        regex=request.regex,
        choice=tuple(request.choice.options),
        tools=tuple(map(_tool_of, request.tools)),
        tool_choice=tools_pb2.TOOL_CHOICE_REQUIRED if named else request.tool_choice,
        required_tool=named,
    )


def write_output(output: Output, request: pb.GenerateRequest) -> None:
    """Write into a request what `output_of` read from one."""
    if output.response_schema:
        request.response_schema = output.response_schema
    if output.regex:
        request.regex = output.regex
    if output.choice:
        request.choice.options.extend(output.choice)
    request.tools.extend(tools_pb2.Tool(**vars(tool)) for tool in output.tools)
    request.tool_choice = tools_pb2.ToolChoice.ValueType(output.tool_choice)
    request.required_tool = output.required_tool


def _tool_of(tool: tools_pb2.Tool) -> Tool:
    return Tool(tool.name, tool.description, tool.parameters, tool.strict)


def turn_of(message: pb.ChatMessage) -> Turn:
    """Read one message of a conversation."""
    calls = tuple(map(call_of, message.tool_calls))
    return Turn(message.role, message.content, calls, message.tool_call_id)


def turn_to_proto(turn: Turn) -> pb.ChatMessage:
    """Write one message of a conversation."""
    return pb.ChatMessage(
        role=turn.role,
        content=turn.content,
        tool_calls=map(call_to_proto, turn.tool_calls),
        tool_call_id=turn.tool_call_id,
    )


def call_of(message: tools_pb2.ToolCall) -> ToolCall:
    """Read a call."""
    return ToolCall(message.id, message.name, message.arguments)


def call_to_proto(call: ToolCall) -> tools_pb2.ToolCall:
    """Write a call."""
    return tools_pb2.ToolCall(**vars(call))


def reason_of(reason: completion_pb.FinishReason.ValueType) -> Reason:
    """Read how an answer ended."""
    return next(name for name, value in _REASONS.items() if value == reason)


def reason_to_proto(reason: Reason) -> completion_pb.FinishReason.ValueType:
    """Write how an answer ended."""
    return _REASONS[reason]
