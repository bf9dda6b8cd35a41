"""mlx-lm's own stream_generate on the same folder, loaded as the engine loads it."""

import json
import statistics
import sys
import time
from pathlib import Path

from services.runtime.model import load_base, prepare

prepare()

from mlx_lm.generate import stream_generate  # noqa: E402  (prepare comes before MLX)

folder, prompt, tokens, rounds = sys.argv[1:]
model, tokenizer, _ = load_base(Path(folder))
firsts, rates = [], []
for number in range(int(rounds) + 1):
    start = time.perf_counter()
    moments = [time.perf_counter() for _ in stream_generate(model, tokenizer, prompt, int(tokens))]
    if number:
        firsts.append((moments[0] - start) * 1000)
        rates.append((len(moments) - 1) / (moments[-1] - moments[0]))
print(json.dumps({"ttft_ms": statistics.median(firsts), "tok_s": statistics.median(rates)}))
