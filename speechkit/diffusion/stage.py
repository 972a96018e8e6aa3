"""One stage of the generator: its loss and its sampler, side by side.

Shapes: B batch, L positions (prompt, separator, target), K code books, N target positions,
P prompt positions, V entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechkit.diffusion.config import StageSampling
from speechkit.diffusion.denoiser import MASK, NULL_CODE, Denoiser, DenoiserInputs
from speechkit.diffusion.masking import draw_mask
from speechkit.diffusion.sampler import guide, unmask

SEPARATOR = 4
"""Empty positions between prompt and target, so that no convolution joins two recordings."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A run of positions: phones, places and the codes known of them."""

    phones_N: Tensor
    """Phone ids."""

    place_N2: Tensor
    """See `DenoiserInputs.place_BL2`."""

    codes_KN: Tensor
    """Codes of all books of the network; `NULL_CODE` where unknown."""


@dataclass(frozen=True, kw_only=True)
class StageBatch:
    """Padded sequences to train a stage's network on."""

    phones_BL: Tensor
    """Phone ids."""

    place_BL2: Tensor
    """Places in phones."""

    codes_BKL: Tensor
    """True codes of all books."""

    prompt_BL: Tensor
    """True at prompt positions."""

    keep_BL: Tensor
    """True at real positions."""


@dataclass(frozen=True, kw_only=True)
class StageLoss:
    """What a training pass of a stage yields, as scalars."""

    nll: Tensor
    """Cross-entropy of the masked codes, in nats."""

    accuracy: Tensor
    """Share of them guessed right."""

    ahead: Tensor
    """Cross-entropy of later books guessed from the same pass; 0 when none are."""


class Stage:
    """Fills the code books `books` of a network, one after the other (NS3 §3.3)."""

    def __init__(self, name: str, network: Denoiser, books: range) -> None:
        self.name, self.network, self.books = name, network, books

    def loss(
        self, batch: StageBatch, book_B: Tensor, rng: torch.Generator, *, ahead: int = 0
    ) -> StageLoss:
        """Loss of masked target positions; `book_B` says which book each item fills.

        `ahead` books after it are guessed from the same pass, as a training signal that costs
        little more than their read-outs.
        """
        time_B = torch.rand(len(book_B), generator=rng, device=rng.device)
        target_BL = batch.keep_BL & ~batch.prompt_BL
        masked_BL = draw_mask(time_B, target_BL, rng)
        hidden_BLD = self.network(
            DenoiserInputs(
                phones_BL=batch.phones_BL,
                place_BL2=batch.place_BL2,
                codes_BKL=visible_codes(batch.codes_BKL, book_B, masked_BL),
                book_B=book_B,
                time_B=time_B,
                prompt_BL=batch.prompt_BL,
                keep_BL=batch.keep_BL,
            )
        )
        own = self._read(hidden_BLD, batch, masked_BL, book_B, 0)
        later = [
            self._read(hidden_BLD, batch, masked_BL, book_B, step)[0] / max(1, ahead)
            for step in range(1, ahead + 1)
        ]
        zero = hidden_BLD.new_zeros((), dtype=torch.float32)
        return StageLoss(nll=own[0], accuracy=own[1], ahead=sum(later, zero))

    def _read(
        self,
        hidden_BLD: Tensor,
        batch: StageBatch,
        masked_BL: Tensor,
        book_B: Tensor,
        offset: int,
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and accuracy of the book `offset` after each item's own."""
        total = right = hidden_BLD.new_zeros((), dtype=torch.float32)
        for book in self.books:
            chosen_BL = masked_BL & (book_B + offset == book)[:, None]
            if not chosen_BL.any():
                continue
            true_N = batch.codes_BKL[:, book][chosen_BL]
            logits_NV = self.network.logits(hidden_BLD[chosen_BL], book)
            total = total + nn.functional.cross_entropy(logits_NV, true_N, reduction="sum")
            right = right + (logits_NV.argmax(-1) == true_N).sum()
        count = masked_BL.sum().clamp_min(1)
        return total / count, right / count

    @torch.no_grad()
    def sample(
        self, target: Stretch, prompt: Stretch | None, settings: StageSampling, rng: torch.Generator
    ) -> Tensor:
        """`codes_KN` of the stage's books for the target, given the books before them."""
        codes_KN = target.codes_KN.clone()
        for number, book in enumerate(self.books):
            steps = settings.steps[min(number, len(settings.steps) - 1)]

            def guess(codes_N: Tensor, time: float, book: int = book) -> Tensor:
                known_KN = codes_KN.clone()
                known_KN[book] = torch.where(codes_N < 0, MASK, codes_N)
                plain = self._logits(target, known_KN, prompt, book, time)
                if settings.guidance == 0 or prompt is None:
                    return plain
                unprompted = self._logits(target, known_KN, None, book, time)
                return guide(plain, unprompted, settings.guidance, settings.rescale)

            codes_KN[book] = unmask(guess, codes_KN.shape[-1], steps, settings, rng)
        return codes_KN[self.books.start : self.books.stop]

    def _logits(
        self, target: Stretch, codes_KN: Tensor, prompt: Stretch | None, book: int, time: float
    ) -> Tensor:
        length = codes_KN.shape[-1]
        inputs = join(target.phones_N, target.place_N2, codes_KN, prompt, book, time)
        return self.network.logits(self.network(inputs)[0, -length:], book)


def visible_codes(codes_BKL: Tensor, book_B: Tensor, masked_BL: Tensor) -> Tensor:
    """Codes as the network may see them: earlier books whole, this one masked, others absent."""
    order_1K1 = torch.arange(codes_BKL.shape[1], device=codes_BKL.device)[None, :, None]
    book_B11 = book_B[:, None, None]
    current_BKL = torch.where(masked_BL[:, None], MASK, codes_BKL)
    seen = torch.where(order_1K1 < book_B11, codes_BKL, NULL_CODE)
    return torch.where(order_1K1 == book_B11, current_BKL, seen)


def join(
    phones_N: Tensor,
    place_N2: Tensor,
    codes_KN: Tensor,
    prompt: Stretch | None,
    book: int,
    time: float,
) -> DenoiserInputs:
    """One sequence of prompt, separator and target, as a batch of one."""
    device = phones_N.device
    books = codes_KN.shape[0]
    gap = SEPARATOR if prompt is not None else 0
    size = len(prompt.phones_N) if prompt is not None else 0
    phones = [torch.zeros(gap, dtype=torch.long, device=device), phones_N]
    place = [torch.zeros(gap, 2, device=device), place_N2]
    codes = [torch.full((books, gap), NULL_CODE, device=device), codes_KN]
    if prompt is not None:
        seen_KP = prompt.codes_KN.clone()
        seen_KP[book + 1 :] = NULL_CODE
        phones.insert(0, prompt.phones_N)
        place.insert(0, prompt.place_N2)
        codes.insert(0, seen_KP)
    position = torch.arange(size + gap + len(phones_N), device=device)
    return DenoiserInputs(
        phones_BL=torch.cat(phones)[None],
        place_BL2=torch.cat(place)[None],
        codes_BKL=torch.cat(codes, dim=1)[None],
        book_B=torch.tensor([book], device=device),
        time_B=torch.tensor([time], device=device),
        prompt_BL=(position < size)[None],
        keep_BL=((position < size) | (position >= size + gap))[None],
    )
