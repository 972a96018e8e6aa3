"""What is read off the parts, to teach them or, with reversed gradients, to keep it out of them.

Shapes: B batch, D channels, F frames, P phone classes, S speakers.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from speechkit.facodec.paper.alias_free import AliasFreeSnake
from speechkit.facodec.paper.config import PaperCodecConfig
from speechkit.facodec.paper.convolution import ResidualUnit
from speechkit.facodec.predictors import reverse_gradient

DILATIONS = (1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class Reversal:
    """How hard the adversaries push (Ganin & Lempitsky 2015)."""

    strength: float = 1.0
    """Factor on the reversed gradients; the paper's is 1."""

    bound: float = float("inf")
    """Largest norm of each adversary's gradient; the paper has none."""


@dataclass(frozen=True, kw_only=True)
class Pitch:
    """Pitch as a predictor gives it."""

    f0_BF: Tensor
    """Normalised F0."""

    voiced_logit_BF: Tensor
    """Log odds of voicing."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Everything the predictors give; None where the configuration has no such predictor."""

    pitch: Pitch
    """F0 and voicing from prosody."""

    phone_BFP: Tensor
    """Phone logits from content."""

    prosody_phone_BFP: Tensor | None
    """Phone logits from prosody, gradient reversed."""

    content_pitch: Pitch | None
    """F0 and voicing from content, gradient reversed."""

    detail_pitch: Pitch | None
    """F0 and voicing from detail, gradient reversed."""

    detail_phone_BFP: Tensor | None
    """Phone logits from detail, gradient reversed."""

    speaker_BS: Tensor | None
    """Speaker logits from what the generator gets, before its timbre; gradient reversed."""


class Predictor(nn.Module):
    """Residual units, then linear read-outs for each frame or for the mean over frames."""

    def __init__(self, channels: int, outputs: int, readouts: int, *, pooled: bool = False) -> None:
        super().__init__()
        self.pooled = pooled
        self.units = nn.Sequential(*(ResidualUnit(channels, d) for d in DILATIONS))
        self.act = AliasFreeSnake(channels)
        self.out = nn.ModuleList(nn.Linear(channels, outputs) for _ in range(readouts))

    def forward(self, z_BDF: Tensor) -> list[Tensor]:
        """One `[B, F, outputs]` for each read-out, or `[B, outputs]` where frames are pooled."""
        hidden = self.act(self.units(z_BDF)).transpose(1, 2)
        if self.pooled:
            hidden = hidden.mean(1)
        return [out(hidden).float() for out in self.out]


class Predictors(nn.Module):
    """All predictors of a configuration (NS3 §3.2.2)."""

    def __init__(self, config: PaperCodecConfig) -> None:
        super().__init__()

        def pitch(wanted: bool) -> Predictor | None:
            return Predictor(config.channels, 1, 2) if wanted else None

        def phone(wanted: bool) -> Predictor | None:
            return Predictor(config.channels, config.phone_classes, 1) if wanted else None

        self.f0 = Predictor(config.channels, 1, 2)
        self.phone = Predictor(config.channels, config.phone_classes, 1)
        self.detail_f0 = pitch(config.reverse_detail_f0)
        self.detail_phone = phone(config.reverse_detail_phone)
        self.content_f0 = pitch(config.reverse_content_f0)
        self.prosody_phone = phone(config.reverse_prosody_phone)
        self.speaker = (
            Predictor(config.channels, config.speakers, 1, pooled=True)
            if config.reverse_speaker
            else None
        )

    def forward(
        self,
        z_prosody_BDF: Tensor,
        z_content_BDF: Tensor,
        z_detail_BDF: Tensor,
        z_decoder_BDF: Tensor,
        reversal: Reversal,
    ) -> Predictions:
        """Everything the predictors read off the parts and off what the generator gets."""

        def against(predictor: Predictor | None, z_BDF: Tensor) -> list[Tensor]:
            if predictor is None:
                return []
            reads: list[Tensor] = predictor(
                reverse_gradient(z_BDF, reversal.strength, reversal.bound)
            )
            return reads

        return Predictions(
            pitch=_pitch(self.f0(z_prosody_BDF)),
            phone_BFP=self.phone(z_content_BDF)[0],
            prosody_phone_BFP=_first(against(self.prosody_phone, z_prosody_BDF)),
            content_pitch=_maybe_pitch(against(self.content_f0, z_content_BDF)),
            detail_pitch=_maybe_pitch(against(self.detail_f0, z_detail_BDF)),
            detail_phone_BFP=_first(against(self.detail_phone, z_detail_BDF)),
            speaker_BS=_first(against(self.speaker, z_decoder_BDF)),
        )


def _pitch(reads: list[Tensor]) -> Pitch:
    f0_BF1, voiced_BF1 = reads
    return Pitch(f0_BF=f0_BF1[..., 0], voiced_logit_BF=voiced_BF1[..., 0])


def _maybe_pitch(reads: list[Tensor]) -> Pitch | None:
    return _pitch(reads) if reads else None


def _first(reads: list[Tensor]) -> Tensor | None:
    return reads[0] if reads else None
