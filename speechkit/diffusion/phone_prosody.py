"""Prosody codes of phones: the codec's prosody pooled over each phone, and quantised again.

NaturalSpeech 3 (§4.1) pools what the codec's quantizer reads and hands it to the prosody quantizer.
A corpus keeps codes alone, so here the entries that they stand for are pooled.

Shapes: F frames, P phones, K prosody codebooks, V entries, C channels of an entry.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechkit.diffusion.config import PHONE_PROSODY, GeneratorConfig
from speechkit.diffusion.denoiser import NULL_CODE
from speechkit.diffusion.duration import regulate_length
from speechkit.diffusion.stage import Segment


def pool_codes(codes_KF: Tensor, frames_P: Tensor, entries_KVC: Tensor) -> Tensor:
    """`codes_KP`: the entry nearest to the mean over the frames of a phone, by angle as the codec's
    quantizers have it; later codebooks take what earlier ones leave over.

    A phone that lasts no frame gets the code of the frame that follows, or of the last one.
    """
    device, frames = codes_KF.device, codes_KF.shape[1]
    entries_KVC = entries_KVC.to(device)
    ends_P = frames_P.to(device).cumsum(0)
    vectors_FC = sum(
        (entries_VC[codes_F] for entries_VC, codes_F in zip(entries_KVC, codes_KF, strict=True)),
        torch.zeros(frames, entries_KVC.shape[-1], device=device),
    )
    phone_F = regulate_length(torch.arange(len(ends_P), device=device), frames_P.to(device))
    phone_F = phone_F[:frames]
    pooled_PC = torch.zeros(len(ends_P), vectors_FC.shape[1], device=device)
    pooled_PC.index_add_(0, phone_F, vectors_FC[: len(phone_F)])
    counts_P1 = torch.bincount(phone_F, minlength=len(ends_P))[:, None]
    at_P = (ends_P - frames_P.to(device)).clamp_max(frames - 1)
    rest_PC = torch.where(counts_P1 > 0, pooled_PC / counts_P1.clamp_min(1), vectors_FC[at_P])
    found = []
    for entries_VC in entries_KVC:
        closeness_PV = (
            nn.functional.normalize(rest_PC, dim=-1) @ nn.functional.normalize(entries_VC, dim=-1).T
        )
        found.append(closeness_PV.argmax(dim=-1))
        rest_PC = rest_PC - entries_VC[found[-1]]
    return torch.stack(found)


def phone_codes(
    frames_P: Tensor,
    config: GeneratorConfig,
    codes_KF: Tensor | None = None,
    entries_KVC: Tensor | None = None,
) -> Tensor:
    """What the duration network reads of phones, `codes_KP`: durations, capped at the last entry,
    and before them, where it draws any, the prosody codes pooled from `codes_KF`; unknown without.
    """
    durations_1P = frames_P[None].clamp_max(config.duration.codebook_size - 1)
    if not config.phone_prosody:
        return durations_1P
    codebooks = config.codebooks_of(PHONE_PROSODY)
    if codes_KF is None or not codes_KF.shape[1]:
        prosody_KP = torch.full((len(codebooks), len(frames_P)), NULL_CODE)
    else:
        assert entries_KVC is not None
        prosody_KP = pool_codes(codes_KF[: codebooks.stop], frames_P, entries_KVC).cpu()
    return torch.cat([prosody_KP, durations_1P.cpu()])


def phone_segment(phones_P: Tensor, codes_KP: Tensor) -> Segment:
    """Phones as a segment of the duration network."""
    return Segment(phones_N=phones_P, position_N2=torch.zeros(len(phones_P), 2), codes_KN=codes_KP)
