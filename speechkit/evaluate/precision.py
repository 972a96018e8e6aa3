"""How often another number format draws the same codes, on the same draws.

Forced: each pass starts from what float32 has drawn so far, and both formats draw from the same
stream. Free: the other format goes through all passes by itself, on the durations of float32; there
one frame that differs changes what comes after it.

Shapes: F frames, K codebooks, M masked frames, N target frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from speechkit.core.devices import pick_dtype
from speechkit.core.results import Voice
from speechkit.core.rng import derive
from speechkit.diffusion.config import FRAME_STAGES, StageSampling
from speechkit.diffusion.generator import Draws
from speechkit.diffusion.sampler import Drawn
from speechkit.diffusion.stage import Stage, StageItem
from speechkit.text.turns import write_script
from speechkit.tts import ZeroShotTTS


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A number format beside float32."""

    dtype: str
    """The format."""

    frames: int
    """Frames that were drawn, in every frame stage."""

    forced: dict[str, float]
    """Stage → share of its frames with all codes the same, each pass from the same codes."""

    free: dict[str, float]
    """Stage → the same after all passes of all stages by itself."""

    durations: float
    """Share of phones that last as long, forced."""

    def text(self) -> str:
        """Two lines for people."""

        def shares(found: dict[str, float]) -> str:
            return ", ".join(f"{name} {100 * share:.1f} %" for name, share in found.items())

        return (
            f"{self.dtype} beside float32, {self.frames} frames, the same codes: "
            f"{shares({'duration': self.durations, **self.forced})}\n"
            f"  after all passes by itself: {shares(self.free)}"
        )


class _Twice(Stage):
    """A stage that draws in float32, and in another format from the same stream beside it."""

    def __init__(self, stage: Stage, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(
            stage.number, stage.network, stage.codebooks, told_timbre=stage.told_timbre
        )
        self.format = (device.type, dtype)
        self.passes: list[tuple[Tensor, Tensor]] = []
        """Which frames were masked, and what the other format drew for them."""

        self.final_KN = torch.zeros(0)
        """What float32 drew in the end."""

    def sample(self, items: Sequence[StageItem], settings: StageSampling) -> list[Tensor]:
        """As a stage does."""
        found = super().sample(items, settings)
        (self.final_KN,) = found
        return found

    def draw(
        self,
        items: Sequence[StageItem],
        codes: Sequence[Tensor],
        settings: StageSampling,
        time: float,
        temperature: float,
    ) -> list[Drawn]:
        """What float32 draws for the one item there is."""
        (item,), given = items, (items, codes, settings, time, temperature)
        state = item.rng.get_state()
        with torch.autocast(*self.format):
            (other,) = super().draw(*given)
        self.passes.append((codes[0][0] < 0, other.codes_KM))
        item.rng.set_state(state)
        return super().draw(*given)

    def same(self) -> int:
        """Frames whose codes the other format draws too, in the pass that settled them."""
        count = 0
        for number, (masked_N, other_KM) in enumerate(self.passes):
            later = self.passes[number + 1 :]
            still_N = later[0][0] if later else torch.zeros_like(masked_N)
            settled_M = ~still_N[masked_N]
            same_M = (other_KM == self.final_KN[:, masked_N]).all(0)
            count += int((same_M & settled_M).sum())
        return count


@contextmanager
def _twice(tts: ZeroShotTTS, name: str, dtype: torch.dtype) -> Iterator[_Twice]:
    """The generator with one of its stages drawing in two formats."""
    stages = tts.generator.stages
    plain = stages[name]
    stage = _Twice(plain, tts.device, dtype)
    stages[name] = stage
    try:
        yield stage
    finally:
        stages[name] = plain


@torch.no_grad()
def code_agreement(
    tts: ZeroShotTTS,
    texts: Sequence[str],
    voice: Voice,
    dtype: str | torch.dtype = "bfloat16",
    *,
    seed: int = 0,
) -> Agreement:
    """Speak each text in float32 and count what `dtype` draws the same; see the module.

    For samplers without a corrector, which masks again what was settled. Raises ConfigError for a
    format that the device does not compute in.
    """
    generator, device = tts.generator, tts.device
    dtype = pick_dtype(dtype, device)
    same, alone = dict.fromkeys(FRAME_STAGES, 0), dict.fromkeys(FRAME_STAGES, 0)
    frames = phones = lasting = 0
    for number, text in enumerate(texts):
        for chunk, symbols in enumerate(write_script(text, tts.frontend).chunks):
            draws = Draws(sampler=tts.sampler, seeds=(derive(seed, number, chunk),))
            phones_P = torch.tensor(tts.vocabulary.ids(symbols))
            with _twice(tts, "duration", dtype) as stage:
                (frames_P,) = generator.draw_durations([phones_P], [voice], draws)
                lasting += stage.same()
            phones += len(phones_P)
            start = generator.regulate(phones_P, frames_P)
            free, targets = [start], [start]
            for name in FRAME_STAGES:
                prompt, timbre = [getattr(voice, name)], [voice.timbre_D]
                with torch.autocast(device.type, dtype):
                    free = generator.draw(name, free, prompt, timbre, draws)
                with _twice(tts, name, dtype) as stage:
                    targets = generator.draw(name, targets, prompt, timbre, draws)
                    same[name] += stage.same()
                span = slice(stage.codebooks.start, stage.codebooks.stop)
                alone[name] += int((free[0].codes_KN[span] == stage.final_KN).all(0).sum())
            frames += start.frames
    return Agreement(
        dtype=str(dtype).removeprefix("torch."),
        frames=frames,
        forced={name: count / frames for name, count in same.items()},
        free={name: count / frames for name, count in alone.items()},
        durations=lasting / phones,
    )
