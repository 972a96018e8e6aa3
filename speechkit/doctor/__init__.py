"""Does this machine have what speechkit needs? Nothing is fetched, loaded for good or changed.

Every check stands alone: one that breaks becomes a finding, and the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping

from speechkit.doctor import machine, models, software, sound
from speechkit.doctor.finding import Check, Finding, Status, problem

__all__ = ["CHECKS", "Finding", "Status", "examine"]

CHECKS: Mapping[str, Check] = {
    "python": software.check_python,
    "packages": software.check_packages,
    "extras": software.check_extras,
    "fairseq2": software.check_fairseq2,
    "threads": machine.check_threads,
    "bfloat16": machine.check_bfloat16,
    "memory": machine.check_memory,
    "disk": machine.check_disk,
    "weights": models.check_weights,
    "audio": sound.check_audio,
    "gpu": machine.check_gpu,
    "programs": machine.check_programs,
}
"""All checks by what they look at, in the order they are told."""


def examine(checks: Mapping[str, Check] = CHECKS) -> list[Finding]:
    """The findings of all checks, at least one each."""
    findings: list[Finding] = []
    for name, check in checks.items():
        try:
            findings += check()
        except Exception as error:
            # Also what a broken package raises while it is imported: that is what is looked for.
            reason = " ".join(str(error).split()) or type(error).__name__
            findings.append(
                problem(
                    name,
                    f"The check broke off: {type(error).__name__}: {reason}",
                    "Mend the packages first, see there; if they are in order, report this.",
                )
            )
    return findings
