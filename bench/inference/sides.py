"""Everything that answers: the hub, servers that speak OpenAI's protocol, mlx-lm in process."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.inference import child


@dataclass
class Answer:
    """When its pieces came, by `time.perf_counter()`; filled while it comes."""

    start: float = field(default_factory=time.perf_counter)
    moments: list[float] = field(default_factory=list)
    tokens: int = 0
    text: str = ""
    engine_ttft_ms: float = 0.0

    @property
    def ttft_ms(self) -> float:
        """From the request to the first piece."""
        return (self.moments[0] - self.start) * 1000

    @property
    def rate(self) -> float:
        """Tokens a second after the first piece."""
        return (self.tokens - 1) / (self.moments[-1] - self.moments[0])

    def take(self, text: str) -> None:
        """Note a piece."""
        self.moments.append(time.perf_counter())
        self.text += text


class Side(Protocol):
    """What can be asked over HTTP."""

    def ask(
        self,
        prompt: str,
        tokens: int,
        answer: Answer | None = None,
        leave: threading.Event | None = None,
        **options: Any,
    ) -> Answer:
        """Ask and wait for the end, or until told to leave."""
        ...


@dataclass
class Hub:
    """The hub by REST and server-sent events; drafting is off unless asked for."""

    port: int
    model: int

    def ask(
        self,
        prompt: str,
        tokens: int,
        answer: Answer | None = None,
        leave: threading.Event | None = None,
        **options: Any,
    ) -> Answer:
        """Ask; `options` are fields of the request."""
        body = {
            "model_id": self.model, "prompt": prompt, "max_tokens": tokens, "version": "base",
            "drafting": False, **options,
        }  # fmt: skip
        answer = answer or Answer()
        for event in _events(self.port, "/inference/stream", body, leave):
            if "error" in event:
                raise SystemExit(f"the hub failed: {event['error']}")
            if delta := event.get("delta"):
                answer.take(delta["text"])
                answer.tokens = delta["tokens"]
            elif done := event.get("completion"):
                answer.tokens = done["tokens"]
                answer.engine_ttft_ms = done["engine_ttft_ms"]
        return answer


@dataclass
class OpenAi:
    """A server that speaks OpenAI's completions."""

    port: int

    def ask(
        self,
        prompt: str,
        tokens: int,
        answer: Answer | None = None,
        leave: threading.Event | None = None,
        **options: Any,
    ) -> Answer:
        """Ask; `options` are added to the body."""
        body = {
            "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}, **options,
        }  # fmt: skip
        answer = answer or Answer()
        for event in _events(self.port, "/v1/completions", body, leave):
            if text := "".join(choice.get("text") or "" for choice in event.get("choices", ())):
                answer.take(text)
                answer.tokens += 1
            if usage := event.get("usage"):
                answer.tokens = usage["completion_tokens"]
        return answer


def _events(
    port: int, path: str, body: dict[str, Any], leave: threading.Event | None
) -> Iterator[dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        reply = connection.getresponse()
        if reply.status != 200:
            raise SystemExit(f"{path} answered {reply.status}: {reply.read()!r}")
        for line in reply:
            if leave and leave.is_set():
                return
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])
    finally:
        connection.close()


def together(side: Side, prompts: Sequence[str], tokens: int, **each: Sequence[Any]) -> float:
    """Ask all at once; give all tokens over the seconds from the start to the last of them.

    `each` gives one value of an option for each prompt.
    """
    options = [{name: values[n] for name, values in each.items()} for n in range(len(prompts))]
    start = time.perf_counter()
    with ThreadPoolExecutor(len(prompts)) as pool:
        asked = zip(prompts, options, strict=True)
        running = [pool.submit(side.ask, prompt, tokens, **more) for prompt, more in asked]
        answers = [each.result() for each in running]
    return sum(a.tokens for a in answers) / (max(a.moments[-1] for a in answers) - start)


class Local:
    """mlx-lm's own functions in a process of their own, which holds the model."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", child.__name__, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def stream(self, prompt: str, tokens: int) -> dict[str, float]:
        """Run stream_generate: ttft_ms and tok_s."""
        return self._call(prompts=[prompt], tokens=tokens, batch=False)

    def batch(self, prompts: Sequence[str], tokens: int) -> float:
        """Run BatchGenerator and give its tokens a second, prompts included."""
        return self._call(prompts=list(prompts), tokens=tokens, batch=True)["tok_s"]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _call(self, **command: Any) -> dict[str, float]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found
