"""Does this machine have what speechkit needs? Nothing is fetched, kept or changed.

Every check stands alone: one that breaks becomes a problem of its own, and the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping

from speechkit.doctor import checks
from speechkit.doctor.checks import Check, CheckResult, Status

__all__ = ["CHECKS", "CheckResult", "Status", "examine"]

CHECKS: Mapping[str, Check] = {
    "packages": checks.check_packages,
    "processor": checks.check_processor,
    "memory": checks.check_memory,
    "disk": checks.check_disk,
    "models": checks.check_models,
    "audio": checks.check_audio,
    "gpu": checks.check_gpu,
    "programs": checks.check_programs,
}
"""All checks by what they look at, in the order they are told."""


def examine(checks: Mapping[str, Check] = CHECKS) -> list[CheckResult]:
    """The results of all checks, at least one each."""
    results: list[CheckResult] = []
    for name, check in checks.items():
        try:
            results += check()
        except Exception as error:
            # Also what a broken package raises while it is imported: that is what is looked for.
            reason = " ".join(str(error).split()) or type(error).__name__
            says = f"The check broke off: {type(error).__name__}: {reason}"
            advice = "Fix the packages first, see there; if they are in order, report this."
            results.append(CheckResult(name, "problem", says, advice))
    return results
