"""How much of an adapter is left in a fused model: distributions compared, position by position.

Packing weights into few bits can round a weak adapter away without a word. So the fused folder is
loaded as anybody would load it and compared with the base model under the adapter, on the scale of
what the adapter changes at all.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from services.runtime.exchange.samples import Samples

type Logits = NDArray[np.float64]
# A mean KL below this is the noise of float32, not of a model.
NOISE = 1e-9


@dataclass(frozen=True)
class Distance:
    """How far a model is from the tuned one: KL divergences in nats, logits as they are."""

    mean_kl: float
    max_kl: float
    max_logit_difference: float
    top1_agreement: float
    """Share of positions where both have the same likeliest token."""


@dataclass(frozen=True)
class Parity:
    """The fused model and the bare base model, each beside base model and adapter."""

    fused: Distance
    base: Distance

    @property
    def lost(self) -> float:
        """Give the share of the adapter's effect that is lost.

        That is the fused model's distance over the base model's, a distance being the root of the
        mean KL. 0 is none, 1 as far off as without the adapter; rounding can put it beyond.
        """
        if self.fused.mean_kl <= NOISE:
            return 0.0
        if self.base.mean_kl <= NOISE:
            return math.inf
        return math.sqrt(self.fused.mean_kl / self.base.mean_kl)

    @property
    def kept(self) -> float:
        """Give the share that survives."""
        return max(0.0, 1.0 - self.lost)

    def words(self) -> str:
        """Tell the numbers in one line."""
        return (
            f"{self.kept:.1%} of the adapter's effect survives: mean KL {self.fused.mean_kl:.3g} "
            f"from base model and adapter, where the base model alone is {self.base.mean_kl:.3g} "
            f"away; same likeliest token at {self.fused.top1_agreement:.1%} of the positions "
            f"(base model: {self.base.top1_agreement:.1%}), logits off by up to "
            f"{self.fused.max_logit_difference:.3g}"
        )

    def as_json(self, samples: Samples) -> dict[str, Any]:
        """Give all that was measured; a share that can't be given is null."""
        return {
            "compared_on": samples.kind,
            "samples": len(samples.items),
            "positions": samples.positions,
            "effect_lost": self.lost if math.isfinite(self.lost) else None,
            "effect_kept": self.kept,
            "fused": asdict(self.fused),
            "base": asdict(self.base),
        }


def logits_of(model: Any, samples: Samples) -> list[NDArray[np.float32]]:
    """Run a model over the samples."""
    model.eval()
    found = []
    for sample in samples.items:
        logits = model(mx.array(sample.tokens)[None])[0, mx.array(sample.positions)]
        found.append(np.array(logits.astype(mx.float32)))
    return found


def distance(
    tuned: Sequence[NDArray[np.float32]], other: Sequence[NDArray[np.float32]]
) -> Distance:
    """Compare two models' logits at the same positions."""
    divergences, same, furthest = [], [], 0.0
    for mine, theirs in zip(tuned, other, strict=True):
        p, q = _log_softmax(mine), _log_softmax(theirs)
        divergences.append((np.exp(p) * (p - q)).sum(-1).clip(0.0))
        same.append(mine.argmax(-1) == theirs.argmax(-1))
        furthest = max(furthest, float(np.abs(mine - theirs).max()))
    kl = np.concatenate(divergences)
    return Distance(
        mean_kl=float(kl.mean()),
        max_kl=float(kl.max()),
        max_logit_difference=furthest,
        top1_agreement=float(np.concatenate(same).mean()),
    )


def _log_softmax(logits: NDArray[np.float32]) -> Logits:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
