"""Where a part of the codec tells what another part is there to tell, in words.

A probe's figure counts from what the part may tell (chance; for content what the true phones give
away, for prosody what pitch, voicing and energy give away) up to the best that anything tells.
"""

from __future__ import annotations

from dataclasses import dataclass

from speechkit.evaluate.codec.parts import PARTS
from speechkit.evaluate.codec.probes import REFERENCES, TARGETS, TRUE_PHONES, TRUE_PROSODY, Probes

HOME = {
    "phone": "content",
    "pitch": "prosody",
    "voicing": "prosody",
    "energy": "prosody",
    "speaker": "timbre",
}
"""The part that each target belongs to."""
_ALLOWED = {"content": TRUE_PHONES, "prosody": TRUE_PROSODY}

SOME = 0.1
"""Share of the way from allowed to best above which a part leaks."""
STRONG = 0.4
"""Share above which it leaks strongly."""


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What one part tells of one target that is not its own."""

    part: str
    """The part."""
    target: str
    """The target."""
    figure: float
    """What the probe reached."""
    allowed: float
    """What it would reach with nothing but what the part is there for."""
    best: float
    """The best figure of anything probed."""

    @property
    def share(self) -> float:
        """Way from allowed to best, 0 to 1; 0 where nothing is better than what is allowed."""
        if self.best - self.allowed <= 1e-6:
            return 0.0
        return min(1.0, max(0.0, (self.figure - self.allowed) / (self.best - self.allowed)))

    @property
    def size(self) -> str:
        """`none`, `some` or `strong`."""
        return "strong" if self.share >= STRONG else "some" if self.share >= SOME else "none"


def find_leaks(probes: Probes) -> list[Leak]:
    """Every part beside every target that is not its own, strongest first."""
    figures = probes.figures
    leaks = []
    for target in TARGETS:
        best = max(figures[name][target] for name in figures if not name.startswith("("))
        for part in PARTS:
            if part == HOME[target] or part not in figures:
                continue
            reference = _ALLOWED.get(part)
            allowed = probes.chance[target]
            if reference in figures:
                allowed = max(allowed, figures[reference][target])
            leaks.append(
                Leak(
                    part=part,
                    target=target,
                    figure=figures[part][target],
                    allowed=allowed,
                    best=best,
                )
            )
    return sorted(leaks, key=lambda leak: -leak.share)


def probe_lines(probes: Probes) -> list[str]:
    """The matrix, then the leaks in words."""
    names = [*(part for part in PARTS if part in probes.figures), *REFERENCES]
    width = max(map(len, [*names, "chance"]))
    lines = [" ".join(["part".ljust(width), *(target.rjust(8) for target in TARGETS)])]
    for name, row in [*((n, probes.figures[n]) for n in names), ("chance", probes.chance)]:
        lines.append(" ".join([name.ljust(width), *(f"{row[t]:8.3f}" for t in TARGETS)]))
    lines.append(
        "phone (in speech), voicing, speaker: share right; pitch (contour) and energy: R². "
        f"{probes.frames} frames, {probes.speakers} speakers, {probes.classes - 1} phones. In "
        "brackets: read off the true phones, and off pitch, voicing and energy themselves."
    )
    leaks = find_leaks(probes)
    for leak in leaks:
        if leak.size != "none":
            lines.append(
                f"{leak.size} leak: {leak.part} tells {leak.target} ({leak.figure:.2f}; allowed "
                f"{leak.allowed:.2f}, best anywhere {leak.best:.2f})"
            )
    clean = [f"{leak.target} in {leak.part}" for leak in leaks if leak.size == "none"]
    lines.append(f"no leak: {', '.join(clean) or 'nowhere'}")
    return lines
