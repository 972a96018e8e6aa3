"""Ids of all components in the page, and names of all calls; tests and scripts rely on them.

Every component has its id as `elem_id`: `#prompt input[type=file]`, `#text textarea`, `#go`. Every
name is an endpoint for `gradio_client`; a job of its `submit` ends with `Job.cancel`.
"""

from __future__ import annotations

COMPONENTS: dict[str, tuple[str, ...]] = {
    "top": ("consent", "tabs", "about"),
    "speak": (
        *("tab-speak", "prompt", "prompt-seconds", "kept", "kept-note", "examples"),
        *("text", "text-file", "speed", "steps", "seed", "random-seed", "settings", "go", "cancel"),
        *("speech", "report", "picture", "phone-table"),
        *("speech-to-prompt", "speech-to-convert", "speech-to-detect"),
    ),
    "swap": (
        *("tab-swap", "swap-mode", "swap-text", "swap-base", "swap-other", "swap-factors"),
        *("swap-timbre", "swap-prosody", "swap-duration", "swap-content", "swap-detail"),
        *("swap-voices", "swap-settings", "swap-speed", "swap-steps", "swap-seed"),
        *("swap-go", "swap-cancel", "swap-examples"),
        *("swap-before", "swap-after", "swap-report", "swap-picture", "swap-durations"),
        *("swap-after-to-prompt", "swap-after-to-convert", "swap-after-to-detect"),
    ),
    "convert": (
        *("tab-convert", "convert-source", "convert-target", "convert-pitch", "convert-detail"),
        *("convert-settings", "convert-seed", "convert-go", "convert-cancel", "convert-examples"),
        *("convert-result", "convert-report", "convert-picture"),
        *("convert-result-to-prompt", "convert-result-to-convert", "convert-result-to-detect"),
    ),
    "codec": (
        *("tab-codec", "codec-recording", "codec-examples", "codec-go", "codec-cancel"),
        *("codec-result", "codec-report", "codec-picture"),
        *("codec-stream", "codec-drop", "codec-dropped", "codec-drop-report"),
    ),
    "detect": (
        *("tab-detect", "detect-recording", "detect-examples", "detect-go", "detect-cancel"),
        "detect-report",
    ),
}
"""Tab → ids of its components."""

CALLS = ("trim", "load_text", "speak", "swap", "convert", "codec", "drop", "detect")
"""Names of the endpoints."""
