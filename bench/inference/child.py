"""mlx-lm in a process of its own: a line of JSON asks, a line of JSON answers.

python -m bench.inference.child FOLDER
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from services.runtime.model import load_base, prepare


def stream(model: Any, tokenizer: Any, prompt: str, tokens: int) -> dict[str, float]:
    """Run stream_generate as it comes."""
    from mlx_lm.generate import stream_generate  # noqa: PLC0415  after prepare

    start = time.perf_counter()
    moments = [time.perf_counter() for _ in stream_generate(model, tokenizer, prompt, tokens)]
    rate = (len(moments) - 1) / (moments[-1] - moments[0])
    return {"ttft_ms": (moments[0] - start) * 1000, "tok_s": rate}


def batch(model: Any, tokenizer: Any, prompts: list[str], tokens: int) -> dict[str, float]:
    """Run BatchGenerator as it comes, over prompts that are all there at the start."""
    from mlx_lm.generate import BatchGenerator  # noqa: PLC0415  after prepare

    encoded = [tokenizer.encode(prompt) for prompt in prompts]
    stops = [[token] for token in tokenizer.eos_token_ids]
    generator = BatchGenerator(model, stop_tokens=stops)
    start, count, running = time.perf_counter(), 0, len(prompts)
    generator.insert(encoded, max_tokens=[tokens] * len(prompts))
    while running:
        _, responses = generator.next()
        count += len(responses)
        running -= sum(response.finish_reason is not None for response in responses)
    generator.close()
    return {"tok_s": count / (time.perf_counter() - start)}


def main() -> None:
    """Answer until nobody asks."""
    prepare()
    model, tokenizer, _ = load_base(Path(sys.argv[1]))
    for line in sys.stdin:
        command = json.loads(line)
        prompts, tokens = command["prompts"], command["tokens"]
        if command["batch"]:
            found = batch(model, tokenizer, prompts, tokens)
        else:
            found = stream(model, tokenizer, prompts[0], tokens)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
