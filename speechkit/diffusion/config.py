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

    books: int = 6
    """Code books it fills, each on its own output head."""

    entries: int = 1024
    """Entries of each book."""

    def __post_init__(self) -> None:
        require_range(
            self,
            channels=(2, 8192),
            blocks=(0, 128),
            heads=(1, 256),
            kernel=(1, 127),
            expansion=(1, 16),
            books=(1, 64),
            entries=(2, 65_536),
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
            channels=192, blocks=6, heads=3, books=1, entries=64
        )
    )
    """Network of the duration stage; entry n means n frames, the last one that many or more."""

    phone_symbols: tuple[str, ...] = ()
    """The phone vocabulary, in order."""

    prosody_books: int = 1
    """Code books of the prosody stage."""

    content_books: int = 2
    """Code books of the content stage."""

    detail_books: int = 3
    """Code books of the detail stage."""

    prompt_frames: int = 150
    """Longest prompt the frame stages look at, in frames (20 ms); the end of a longer one."""

    prompt_phones: int = 60
    """Longest prompt the duration stage looks at, in phones."""

    def __post_init__(self) -> None:
        require_range(self, prompt_frames=(50, 10_000), prompt_phones=(15, 10_000))
        if self.prosody_books + self.content_books + self.detail_books != self.frame.books:
            raise ValueError(
                f"prosody_books, content_books and detail_books must add up to frame.books "
                f"({self.frame.books})"
            )

    def books_of(self, stage: str) -> range:
        """Indices of the code books that a stage fills."""
        if stage == "duration":
            return range(1)
        first = {
            "prosody": 0,
            "content": self.prosody_books,
            "detail": self.prosody_books + self.content_books,
        }[stage]
        count = {
            "prosody": self.prosody_books,
            "content": self.content_books,
            "detail": self.detail_books,
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
