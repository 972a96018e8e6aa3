"""One stage of the generator: its loss and its sampler, side by side.

A frame is masked whole: all codebooks of the stage are hidden and predicted together.

Shapes: B batch, L frames (prompt, separator, target), K codebooks, N target frames, D timbre
channels, E frame channels, M masked frames, V entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from speechkit.core.devices import in_float32
from speechkit.diffusion.config import StageSampling
from speechkit.diffusion.denoiser import MASK, NULL_CODE, Denoiser, DenoiserInputs
from speechkit.diffusion.masking import draw_mask
from speechkit.diffusion.sampler import Drawn, draw_codes, guide, iterative_decode

SEPARATOR = 4
"""Empty frames between prompt and target, so that no convolution joins two recordings."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A run of frames: phones, positions and the codes known of them."""

    phones_N: Tensor
    """Phone ids."""

    position_N2: Tensor
    """See `DenoiserInputs.position_BL2`."""

    codes_KN: Tensor
    """Codes of all codebooks of the network; `NULL_CODE` where unknown."""

    @property
    def frames(self) -> int:
        """Frames N."""
        return len(self.phones_N)

    def between(self, start: int, end: int) -> Segment:
        """The frames from `start` to before `end`, or the last one."""
        span = slice(start, end)
        return Segment(
            phones_N=self.phones_N[span],
            position_N2=self.position_N2[span],
            codes_KN=self.codes_KN[:, span],
        )

    def to(self, device: torch.device) -> Segment:
        """The segment on a device."""
        return Segment(
            phones_N=self.phones_N.to(device),
            position_N2=self.position_N2.to(device),
            codes_KN=self.codes_KN.to(device),
        )

    def without(self, codebooks: range) -> Segment:
        """The same frames with the codes of some codebooks unknown."""
        codes_KN = self.codes_KN.clone()
        codes_KN[codebooks.start : codebooks.stop] = NULL_CODE
        return replace(self, codes_KN=codes_KN)


@dataclass(frozen=True, kw_only=True)
class StageBatch:
    """Padded sequences to train a stage's network on."""

    phones_BL: Tensor
    """Phone ids."""

    position_BL2: Tensor
    """Positions in phones."""

    codes_BKL: Tensor
    """True codes of all codebooks."""

    prompt_BL: Tensor
    """True at prompt frames."""

    keep_BL: Tensor
    """True at real frames."""

    timbre_BD: Tensor | None = None
    """Timbre of each target."""


@dataclass(frozen=True, kw_only=True)
class StageItem:
    """One item of a batch to be sampled."""

    target: Segment
    """What is to be filled; codes of earlier stages are known."""

    prompt: Segment | None
    """What steers it."""

    rng: torch.Generator
    """Its own stream, so that an item is drawn alike alone and in a batch."""

    timbre_D: Tensor | None = None
    """Timbre vector, where the stage is told it."""


@dataclass(frozen=True, kw_only=True)
class StageLoss:
    """What a training pass of a stage yields."""

    nll_K: Tensor
    """Cross-entropy of the masked codes of each codebook of the network, in nats; 0 where the
    stage of no item fills it."""

    accuracy_K: Tensor
    """Share of them predicted right."""

    nll: Tensor
    """Cross-entropy of all masked codes of all stages, as a scalar."""


class Stage:
    """Fills the codebooks `codebooks` of a network (NS3 §3.3)."""

    def __init__(
        self,
        number: int,
        network: Denoiser,
        codebooks: range,
        *,
        told_timbre: bool = False,
    ) -> None:
        self.number, self.network, self.codebooks = number, network, codebooks
        self.told_timbre = told_timbre

    @torch.no_grad()
    def sample(self, items: Sequence[StageItem], settings: StageSampling) -> list[Tensor]:
        """`codes_KN` of the stage's codebooks for each item, given the codebooks before them, and
        what the target has of its own in some frames."""
        own = slice(self.codebooks.start, self.codebooks.stop)
        return iterative_decode(
            lambda codes, time, temperature: self.draw(items, codes, settings, time, temperature),
            [item.target.codes_KN[own].clamp_min(MASK) for item in items],
            settings,
            [item.rng for item in items],
        )

    @torch.no_grad()
    def draw(
        self,
        items: Sequence[StageItem],
        codes: Sequence[Tensor],
        settings: StageSampling,
        time: float,
        temperature: float,
    ) -> list[Drawn]:
        """One pass: codes of the masked frames of each item, whose codes so far are `codes_KN`."""
        known = []
        for item, own_KN in zip(items, codes, strict=True):
            codes_KN = item.target.codes_KN.clone()
            codes_KN[self.codebooks.start : self.codebooks.stop] = torch.where(
                own_KN < 0, MASK, own_KN
            )
            # The network never saw later stages while it learnt this one.
            codes_KN[self.codebooks.stop :] = NULL_CODE
            known.append(codes_KN)
        # Both sides of guidance go through the network together.
        sides = [_without(item, settings.drop) for item in items] if settings.guidance else []
        both = self._hidden([*items, *sides], [*known, *(known if sides else [])], time)
        hidden, other = both[: len(items)], both[-len(items) :]
        return [
            self._draw(hidden_NE, other_NE, own_KN, item, settings, temperature)
            for hidden_NE, other_NE, own_KN, item in zip(hidden, other, codes, items, strict=True)
        ]

    def _draw(
        self,
        hidden_NE: Tensor,
        other_NE: Tensor,
        codes_KN: Tensor,
        item: StageItem,
        settings: StageSampling,
        temperature: float,
    ) -> Drawn:
        """Codes of the masked frames of an item, codebook by codebook.

        In float32 whatever the trunk computes in: half precision moves a logit of 10 by 0.03, and
        guidance trebles that.
        """
        with in_float32(hidden_NE):
            return self._read(
                hidden_NE.float(), other_NE.float(), codes_KN, item, settings, temperature
            )

    def _read(
        self,
        hidden_NE: Tensor,
        other_NE: Tensor,
        codes_KN: Tensor,
        item: StageItem,
        settings: StageSampling,
        temperature: float,
    ) -> Drawn:
        masked_N = codes_KN[0] < 0
        drawn_KM = codes_KN.new_zeros(self.codebooks.stop, int(masked_N.sum()))
        confidence_M = hidden_NE.new_zeros(drawn_KM.shape[1], dtype=torch.float32)
        for k in self.codebooks:
            read = (drawn_KM, k, self.codebooks.start)
            logits_MV = self.network.logits(hidden_NE[masked_N], *read)
            if settings.guidance:
                plain_MV = self.network.logits(other_NE[masked_N], *read)
                logits_MV = guide(logits_MV, plain_MV, settings.guidance, settings.rescale)
            drawn_KM[k], log_share_M = draw_codes(logits_MV, temperature, settings.top_k, item.rng)
            confidence_M = confidence_M + log_share_M
        return Drawn(codes_KM=drawn_KM[self.codebooks.start :], confidence_M=confidence_M)

    def _hidden(
        self, items: Sequence[StageItem], codes: Sequence[Tensor], time: float
    ) -> list[Tensor]:
        """Hidden states `hidden_NE` of the target frames of each item."""
        device = items[0].target.phones_N.device
        batch = collate(
            [
                (
                    item.prompt,
                    Segment(
                        phones_N=item.target.phones_N,
                        position_N2=item.target.position_N2,
                        codes_KN=codes_KN,
                    ),
                )
                for item, codes_KN in zip(items, codes, strict=True)
            ],
            self.network.config.patch,
        )
        stage_B = torch.full((len(items),), self.number, device=device)
        codes_BKL = batch.codes_BKL.clone()
        codes_BKL[:, self.codebooks.stop :] = NULL_CODE
        hidden_BLE = self.network(
            DenoiserInputs(
                phones_BL=batch.phones_BL,
                position_BL2=batch.position_BL2,
                codes_BKL=codes_BKL,
                stage_B=stage_B,
                time_B=torch.full((len(items),), time, device=device),
                prompt_BL=batch.prompt_BL,
                keep_BL=batch.keep_BL,
                timbre_BD=self._timbre(items),
            )
        )
        begin = batch.prompt_BL.shape[1] - max(item.target.frames for item in items)
        return [
            hidden_NE[begin : begin + item.target.frames]
            for hidden_NE, item in zip(hidden_BLE, items, strict=True)
        ]

    def _timbre(self, items: Sequence[StageItem]) -> Tensor | None:
        if not self.told_timbre:
            return None
        told = [item.timbre_D for item in items if item.timbre_D is not None]
        assert len(told) == len(items)
        # What a codec adds before timbre is for its decoder.
        width = min(len(timbre_D) for timbre_D in told)
        return torch.stack([timbre_D[-width:] for timbre_D in told])


def _without(item: StageItem, drop: str) -> StageItem:
    """The item as the unconditional side of guidance sees it."""
    return StageItem(
        target=item.target if drop == "prompt" else without_phones(item.target),
        prompt=item.prompt if drop == "phones" else None,
        rng=item.rng,
        timbre_D=item.timbre_D,
    )


@dataclass(frozen=True, kw_only=True)
class StageDraws:
    """What a training step hides of a batch. Drawn where the batch is, on the CPU: a step that had
    to ask how many frames are hidden would wait for its device."""

    stage_B: Tensor
    """Which of the stages each item trains."""
    time_B: Tensor
    """Diffusion time of each item."""
    masked_BL: Tensor
    """True on hidden frames."""
    places: tuple[Tensor, ...]
    """For each stage the hidden frames of its items, counted through the whole batch."""


def draw_stages(
    stages: int, batch: StageBatch, stage_B: Tensor, rng: torch.Generator
) -> StageDraws:
    """Draw times and masks; `stage_B` says which of so many `stages` each item trains."""
    time_B = torch.rand(len(stage_B), generator=rng, device=rng.device)
    masked_BL = draw_mask(time_B, batch.keep_BL & ~batch.prompt_BL, rng)
    places = tuple(
        (masked_BL & (stage_B == number)[:, None]).flatten().nonzero()[:, 0]
        for number in range(stages)
    )
    return StageDraws(stage_B=stage_B, time_B=time_B, masked_BL=masked_BL, places=places)


def stage_loss(stages: Sequence[Stage], batch: StageBatch, draws: StageDraws) -> StageLoss:
    """Loss of masked target frames.

    All stages must share a network. The codes of a stage are masked whole, those of earlier stages
    are seen, those of later ones are not there.
    """
    network, time_B, stage_B = stages[0].network, draws.time_B, draws.stage_B
    told_B = _of_stages([stage.told_timbre for stage in stages], stage_B)
    timbre_BD = None if batch.timbre_BD is None else batch.timbre_BD * told_B[:, None]
    hidden_BLE = network(
        DenoiserInputs(
            phones_BL=batch.phones_BL,
            position_BL2=batch.position_BL2,
            codes_BKL=visible_codes(batch.codes_BKL, stages, stage_B, draws.masked_BL),
            stage_B=stage_B,
            time_B=time_B,
            prompt_BL=batch.prompt_BL,
            keep_BL=batch.keep_BL,
            timbre_BD=timbre_BD,
        )
    )
    codebooks = network.config.codebooks
    nll_K, accuracy_K = time_B.new_zeros(codebooks), time_B.new_zeros(codebooks)
    total, count = time_B.new_zeros(()), 0
    codes_KN = batch.codes_BKL.transpose(0, 1).flatten(1)
    for stage, places_M in zip(stages, draws.places, strict=True):
        if not len(places_M):
            continue
        hidden_ME, codes_KM = hidden_BLE.flatten(0, 1)[places_M], codes_KN[:, places_M]
        for k in stage.codebooks:
            logits_MV = network.logits(hidden_ME, codes_KM, k, stage.codebooks.start)
            nll = nn.functional.cross_entropy(logits_MV, codes_KM[k], reduction="sum")
            size = codes_KM.shape[1]
            nll_K[k] = nll.detach() / size
            accuracy_K[k] = (logits_MV.argmax(-1) == codes_KM[k]).float().mean()
            total, count = total + nll, count + size
    return StageLoss(nll_K=nll_K, accuracy_K=accuracy_K, nll=total / max(count, 1))


def _of_stages(values: Sequence[int], stage_B: Tensor) -> Tensor:
    """The value of each item's stage, without waiting for the device."""
    return torch.tensor(values).to(stage_B.device, non_blocking=True)[stage_B]


def without_phones(segment: Segment) -> Segment:
    """The segment with nothing to say: padding in place of its phones, at no position."""
    return Segment(
        phones_N=torch.zeros_like(segment.phones_N),
        position_N2=torch.zeros_like(segment.position_N2),
        codes_KN=segment.codes_KN,
    )


def visible_codes(
    codes_BKL: Tensor, stages: Sequence[Stage], stage_B: Tensor, masked_BL: Tensor
) -> Tensor:
    """Codes as the network may see them: this stage masked, later ones not there."""
    device = codes_BKL.device
    order_K = torch.arange(codes_BKL.shape[1], device=device)
    start_B = _of_stages([stage.codebooks.start for stage in stages], stage_B)
    stop_B = _of_stages([stage.codebooks.stop for stage in stages], stage_B)
    own_BK = (order_K >= start_B[:, None]) & (order_K < stop_B[:, None])
    seen = torch.where((order_K < stop_B[:, None])[..., None], codes_BKL, NULL_CODE)
    return torch.where(own_BK[..., None] & masked_BL[:, None], MASK, seen)


def collate(
    items: Sequence[tuple[Segment | None, Segment]],
    patch: int,
    timbre: Sequence[Tensor] | None = None,
) -> StageBatch:
    """Prompts end where the separator begins, targets start after it; the rest is padding.

    Targets begin at a multiple of `patch`, whatever the prompts, so that an item falls into the
    same patches alone and in a batch.
    """
    device = items[0][1].phones_N.device
    room = max(0 if prompt is None else prompt.frames for prompt, _ in items)
    begin = 0 if room == 0 else room + SEPARATOR
    begin += -begin % patch
    stop = begin - SEPARATOR if room else 0
    length = begin + max(target.frames for _, target in items)
    size, codebooks = len(items), items[0][1].codes_KN.shape[0]
    phones_BL = torch.zeros(size, length, dtype=torch.long, device=device)
    position_BL2 = torch.zeros(size, length, 2, device=device)
    codes_BKL = torch.full((size, codebooks, length), NULL_CODE, device=device)
    keep_BL = torch.zeros(size, length, dtype=torch.bool, device=device)
    for row, (prompt, target) in enumerate(items):
        parts = [(target, begin)]
        if prompt is not None:
            parts.append((prompt, stop - prompt.frames))
        for part, at in parts:
            span = slice(at, at + part.frames)
            phones_BL[row, span], position_BL2[row, span] = part.phones_N, part.position_N2
            codes_BKL[row, :, span] = part.codes_KN
            keep_BL[row, span] = True
    prompt_BL = (torch.arange(length, device=device) < begin)[None].expand(size, -1)
    return StageBatch(
        phones_BL=phones_BL,
        position_BL2=position_BL2,
        codes_BKL=codes_BKL,
        prompt_BL=prompt_BL.contiguous(),
        keep_BL=keep_BL,
        timbre_BD=None if timbre is None else torch.stack(list(timbre)),
    )
