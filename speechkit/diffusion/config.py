"""Configuration of the generator."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from speechkit.core.config import require_range
from speechkit.core.errors import ConfigError

STAGES = ("duration", "prosody", "content", "detail")
"""The stages in the order they run; timbre is copied from the prompt, never generated."""
PHONE_PROSODY = "phone_prosody"
"""The stage before them, where a generator has it: a prosody code for each phone."""
FRAME_STAGES = STAGES[1:]
"""The stages that fill frames with codes; they share one network."""


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """One network over a joined sequence of prompt and target."""

    channels: int = 320
    """Width of the trunk."""

    blocks: int = 8
    """ConvNeXt blocks; every second one is followed by self-attention."""

    heads: int = 5
    """Attention heads."""

    kernel: int = 7
    """Length of the depthwise convolutions, in trunk positions."""

    expansion: int = 3
    """Width of the position-wise MLPs over `channels`."""

    patch: int = 2
    """Frames that share a trunk position."""

    frame_channels: int = 256
    """Width of a single frame, before and after the trunk."""

    codebooks: int = 6
    """Codebooks it fills, each with its own predictor."""

    codebook_size: int = 1024
    """Entries of each codebook."""

    stages: int = 3
    """Groups of codebooks that are filled one after the other."""

    timbre_channels: int = 0
    """Width of the timbre vector it may be told; 0 for none."""

    def __post_init__(self) -> None:
        require_range(
            self,
            channels=(2, 8192),
            blocks=(0, 128),
            heads=(1, 256),
            kernel=(1, 127),
            expansion=(1, 16),
            patch=(1, 8),
            frame_channels=(2, 8192),
            codebooks=(1, 64),
            codebook_size=(2, 65_536),
            stages=(1, 16),
            timbre_channels=(0, 8192),
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

    frame: DenoiserConfig = field(default_factory=lambda: DenoiserConfig(timbre_channels=192))
    """Network of the prosody, content and detail stages."""

    duration: DenoiserConfig = field(
        default_factory=lambda: DenoiserConfig(
            channels=192,
            blocks=6,
            heads=3,
            patch=1,
            frame_channels=192,
            codebooks=1,
            codebook_size=64,
            stages=1,
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

    phone_prosody: bool = False
    """Whether a prosody code of each phone is drawn before its duration, which follows from it
    (NS3 §4.1). The duration network then fills `prosody_codebooks` codebooks of phones and, last,
    that of durations, in two stages."""

    code_channels: int = 8
    """Width of an entry of the codec's codebooks; the codes of phones are found by it."""

    codes: str = ""
    """Sign of the codebooks that it was trained on (`codes_sign`); empty where nobody knows."""

    timbre_stages: tuple[str, ...] = ("detail",)
    """Frame stages that are told the timbre vector. The others are not, so that their prompts
    alone steer them."""

    prompt_frames: int = 150
    """Longest prompt the frame stages look at, in frames (20 ms); the end of a longer one."""

    prompt_phones: int = 60
    """Longest prompt the duration stage looks at, in phones."""

    def __post_init__(self) -> None:
        require_range(
            self,
            prompt_frames=(50, 10_000),
            prompt_phones=(15, 10_000),
            code_channels=(1, 8192),
        )
        phones = len(self.codebooks_of("duration")) + self.codebooks_of("duration").start
        if self.phone_prosody and (self.duration.codebooks, self.duration.stages) != (phones, 2):
            raise ValueError(
                f"phone_prosody wants duration.codebooks {phones} and duration.stages 2"
            )
        if self.phone_prosody and self.duration.codebook_size < self.frame.codebook_size:
            raise ValueError("phone_prosody wants duration.codebook_size of frame.codebook_size")
        if sum(len(self.codebooks_of(name)) for name in FRAME_STAGES) != self.frame.codebooks:
            raise ValueError(
                "prosody_codebooks, content_codebooks and detail_codebooks must add up to "
                f"frame.codebooks ({self.frame.codebooks})"
            )
        unknown = set(self.timbre_stages) - set(FRAME_STAGES)
        if unknown:
            raise ValueError(f"timbre_stages must be of {FRAME_STAGES}, not {sorted(unknown)}")

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages in the order they run."""
        return (PHONE_PROSODY, *STAGES) if self.phone_prosody else STAGES

    def codebooks_of(self, stage: str) -> range:
        """Indices of the codebooks that a stage fills."""
        if stage == PHONE_PROSODY:
            return range(self.prosody_codebooks)
        if stage == "duration":
            first = self.prosody_codebooks if self.phone_prosody else 0
            return range(first, first + 1)
        counts = (self.prosody_codebooks, self.content_codebooks, self.detail_codebooks)
        number = FRAME_STAGES.index(stage)
        first = sum(counts[:number])
        return range(first, first + counts[number])


@dataclass(frozen=True, kw_only=True)
class StageSampling:
    """How one stage is sampled."""

    steps: int = 4
    """Passes of the network."""

    temperature: float = 1.0
    """Sharpness of the draw at the first step."""

    anneal: bool = True
    """The temperature falls linearly towards 0 (NS3 App. A.2); False keeps it."""

    order: Literal["confidence", "random"] = "confidence"
    """What is revealed first: the frames the network is surest of (MaskGIT), or any."""

    choice_temperature: float = 1.0
    """Gumbel noise on the log-confidence, falling linearly towards 0."""

    top_k: int = 20
    """Entries that can be drawn."""

    guidance: float = 0.0
    """Weight of classifier-free guidance; 0 halves the passes."""

    drop: Literal["prompt", "phones", "both"] = "phones"
    """What the unconditional side of guidance goes without: the prompt (NS3 App. A.2), what is to
    be said, or both (as F5-TTS)."""

    rescale: float = 1.0
    """1 gives the guided logits the spread of the plain ones (NS3 App. A.2); 0 leaves them."""

    corrector: float = 0.0
    """Share of the revealed frames that each pass but the last masks again (Gat et al. 2024)."""

    def __post_init__(self) -> None:
        require_range(self, steps=(1, 1000), top_k=(1, 1_000_000), corrector=(0.0, 0.9))


MOST_CANDIDATES = 16
"""More takes long and brings little."""


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How speech is sampled, stage by stage."""

    phone_prosody: StageSampling = field(
        default_factory=lambda: StageSampling(temperature=0.5, guidance=1.0, drop="prompt")
    )
    """Prosody codes of phones, guided by the prompt (NS3 App. A.2)."""

    duration: StageSampling = field(
        default_factory=lambda: StageSampling(
            steps=6, temperature=0.9, anneal=False, order="random", top_k=64
        )
    )
    """Durations. Drawn in any order at an even temperature: the surest first makes phones a fifth
    too short, for the short ones are the surest."""

    prosody: StageSampling = field(
        default_factory=lambda: StageSampling(steps=4, temperature=0.5, guidance=2.0)
    )
    """Prosody codes."""

    content: StageSampling = field(
        default_factory=lambda: StageSampling(steps=5, temperature=0.4, guidance=3.0)
    )
    """Content codes; cooler than the paper's 1.5, which a model this small does not bear. Guidance
    by the phones took a third of the wrong words away; more passes took none."""

    detail: StageSampling = field(default_factory=lambda: StageSampling(steps=4, temperature=0.3))
    """Detail codes."""

    candidates: int = 1
    """How often words of a piece of text are drawn, at most, until they are clear; the clearest try
    of each is kept."""

    clear_enough: float = -1.1
    """Mean log-probability of its phones, by the bundled aligner, from which on a word is clear."""

    again_steps: int = 2
    """Passes of the prosody stage, at most, in draws after the first, from which those of content
    and detail follow: there are few words to fill, and what is around them is known."""

    def __post_init__(self) -> None:
        require_range(self, candidates=(1, MOST_CANDIDATES), again_steps=(1, 64))

    def of(self, stage: str) -> StageSampling:
        """The settings of one stage."""
        settings: StageSampling = getattr(self, stage)
        return settings

    def with_candidates(self, count: int) -> SamplerConfig:
        """The same with so many candidates; raises ConfigError for a count out of range."""
        if not 1 <= count <= MOST_CANDIDATES:
            raise ConfigError(
                f"candidates {count} is out of range; give a whole number from 1 to "
                f"{MOST_CANDIDATES}."
            )
        return replace(self, candidates=count)

    def with_steps(self, steps: int | None) -> SamplerConfig:
        """The same with so many passes of the prosody stage, from which those of content and detail
        follow; as it is for None. Raises ConfigError for a count out of range."""
        if steps is None:
            return self
        if not 1 <= steps <= 64:
            raise ConfigError(f"steps {steps} is out of range; give a whole number from 1 to 64.")
        share = steps / self.prosody.steps
        changed: dict[str, Any] = {
            name: replace(self.of(name), steps=max(1, round(self.of(name).steps * share)))
            for name in FRAME_STAGES
        }
        return replace(self, **changed)
