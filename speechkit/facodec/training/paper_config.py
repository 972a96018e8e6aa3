"""What the paper's codec is trained towards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from speechkit.core.config import require_range
from speechkit.facodec.training.adversarial import AdversarialSchedule
from speechkit.facodec.training.discriminators import DiscriminatorConfig


@dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """What the codec is trained towards; the weights are those of NS3 appendix B.1."""

    batch_size: int = 32
    """Crops a step and process; the paper's 8 GPUs have 32 each."""

    crop_frames: int = 50
    """Length of a crop in 20 ms units, as corpora are aligned; the paper's 1 s."""

    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """Discriminator of the waves."""

    schedule: AdversarialSchedule = field(default_factory=AdversarialSchedule)
    """When the discriminator's losses count, and how features are compared."""

    reversal: float = 1.0
    """Strength of the reversed gradients once ramped up."""

    reversal_ramp: tuple[int, int] = (0, 0)
    """Steps between which the reversal grows from nothing to `reversal`; the paper has no ramp."""

    reversal_bound: float = float("inf")
    """Largest norm of each adversary's gradient before its weight; the paper has none."""

    speaker_from: Literal["sum", "decoder"] = "sum"
    """What the speaker is driven out of: the `sum` of the parts (NS3 §3.2.2), or what the `decoder`
    gets, as in the public code, where no gradient reaches prosody and content."""

    restart_every_steps: int = 200
    """Steps between restarts of dead codes; the paper does not mention any."""

    restart_until_step: int = 1_000_000
    """No restarts from this step on, so that the averaged weights settle."""

    start_from_batch: bool = True
    """Scale and fill what leads to the codes by the first batch, see `paper_start`; never done to
    a codec that is trained on."""

    mel: float = 10.0
    """Weight of the multi-scale mel distance."""

    adversarial: float = 2.0
    """Weight of passing as real."""

    features: float = 2.0
    """Weight of matching the discriminator's features."""

    codebook: float = 1.0
    """Weight of the entries' pull towards the encoder."""

    commitment: float = 0.25
    """Weight of the encoder's pull towards the entries."""

    f0: float = 5.0
    """Weight of F0, and of voicing, which the paper does not name, read from prosody."""

    phone: float = 5.0
    """Weight of the phones read from content."""

    speaker: float = 1.0
    """Weight of the speaker read from the timbre vector. The paper's text and figure 2 have this
    loss, the sum in its appendix does not: 0 follows the sum."""

    reverse_f0: float = 5.0
    """Weight of the adversaries that read F0 and voicing."""

    reverse_phone: float = 5.0
    """Weight of the adversaries that read phones."""

    reverse_speaker: float = 1.0
    """Weight of the adversary that reads the speaker."""

    def __post_init__(self) -> None:
        require_range(
            self,
            batch_size=(1, 65_536),
            crop_frames=(1, 10**6),
            reversal=(0, 1000),
            restart_every_steps=(1, 10**9),
        )
