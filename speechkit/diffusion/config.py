"""Configuration of the generator."""

from __future__ import annotations

from dataclasses import dataclass, field

from speechkit.core.config import require_range

STAGES = ("duration", "prosody", "content", "detail")
"""The stages in the order they run; timbre is copied from the prompt, never generated."""


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """One network over a joined sequence of prompt and target."""

    channels: int = 320
    """Width."""

    blocks: int = 8
    """ConvNeXt blocks; every second one is followed by self-attention."""

    heads: int = 5
    """Attention heads."""

    kernel: int = 7
    """Length of the depthwise convolutions, in positions."""

    expansion: int = 3
    """Width of the position-wise MLPs over `channels`."""

    codebooks: int = 6
    """Codebooks it fills, each on its own output head."""

    codebook_size: int = 1024
    """Entries of each codebook."""

    def __post_init__(self) -> None:
        require_range(
            self,
            channels=(2, 8192),
            blocks=(0, 128),
            heads=(1, 256),
            kernel=(1, 127),
            expansion=(1, 16),
            codebooks=(1, 64),
            codebook_size=(2, 65_536),
        )
        if self.channels % (2 * self.heads):
            raise ValueError(
                f"channels ({self.channels}) must be a multiple of twice the heads ({self.heads})"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {self.kernel}")


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """The four stages: duration has its own small network, the rest share one (NS3 App. A.1)."""

    frame: DenoiserConfig = field(default_factory=DenoiserConfig)
    """Network of the prosody, content and detail stages."""

    duration: DenoiserConfig = field(
        default_factory=lambda: DenoiserConfig(
            channels=192, blocks=6, heads=3, codebooks=1, codebook_size=64
        )
    )
    """Network of the duration stage; entry n means n frames, the last one that many or more."""

    phone_symbols: tuple[str, ...] = ()
    """The phone vocabulary, in order."""

    prosody_codebooks: int = 1
    """Codebooks of the prosody stage."""

    content_codebooks: int = 2
    """Codebooks of the content stage."""

    detail_codebooks: int = 3
    """Codebooks of the detail stage."""

    prompt_frames: int = 150
    """Longest prompt the frame stages look at, in frames (20 ms); the end of a longer one."""

    prompt_phones: int = 60
    """Longest prompt the duration stage looks at, in phones."""

    def __post_init__(self) -> None:
        require_range(self, prompt_frames=(50, 10_000), prompt_phones=(15, 10_000))
        if (
            self.prosody_codebooks + self.content_codebooks + self.detail_codebooks
            != self.frame.codebooks
        ):
            raise ValueError(
                f"prosody_codebooks, content_codebooks and detail_codebooks must add up to "
                f"frame.codebooks ({self.frame.codebooks})"
            )

    def books_of(self, stage: str) -> range:
        """Indices of the codebooks that a stage fills."""
        if stage == "duration":
            return range(1)
        first = {
            "prosody": 0,
            "content": self.prosody_codebooks,
            "detail": self.prosody_codebooks + self.content_codebooks,
        }[stage]
        count = {
            "prosody": self.prosody_codebooks,
            "content": self.content_codebooks,
            "detail": self.detail_codebooks,
        }[stage]
        return range(first, first + count)


@dataclass(frozen=True, kw_only=True)
class StageSampling:
    """How one stage is sampled."""

    steps: tuple[int, ...] = (4,)
    """Passes for each code book of the stage, the last number standing for all further ones."""

    temperature: float = 1.0
    """Sharpness of the draw at the first step; falls linearly towards 0 (NS3 App. A.2)."""

    choice_temperature: float = 1.0
    """Gumbel noise on the log-confidence that decides what is revealed first (MaskGIT)."""

    top_k: int = 20
    """Entries that can be drawn."""

    guidance: float = 1.0
    """Weight of classifier-free guidance (no prompt as the other side); 0 halves the passes."""

    rescale: float = 1.0
    """1 gives the guided logits the spread of the plain ones (NS3 App. A.2); 0 leaves them."""


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How speech is sampled, stage by stage."""

    duration: StageSampling = field(
        default_factory=lambda: StageSampling(steps=(4,), guidance=0.0, temperature=0.7)
    )
    """Durations; the paper uses no guidance here."""

    prosody: StageSampling = field(
        default_factory=lambda: StageSampling(steps=(4,), temperature=0.5)
    )
    """Prosody codes."""

    content: StageSampling = field(
        default_factory=lambda: StageSampling(steps=(6, 2), temperature=0.4)
    )
    """Content codes; cooler than the paper's 1.5, which a model this small does not bear."""

    detail: StageSampling = field(
        default_factory=lambda: StageSampling(steps=(2, 1), guidance=0.0, temperature=0.3)
    )
    """Detail codes."""

    def of(self, stage: str) -> StageSampling:
        """The settings of one stage."""
        settings: StageSampling = getattr(self, stage)
        return settings
