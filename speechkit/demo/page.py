"""The whole page: consent, tabs, what the speech carries, and how it looks."""

from typing import TYPE_CHECKING, Any

from speechkit.demo.page_recordings import add_codec, add_convert, add_detect
from speechkit.demo.page_script import add_script
from speechkit.demo.page_speak import add_speak
from speechkit.demo.page_swap import add_swap
from speechkit.demo.state import AppState, session_of
from speechkit.demo.widgets import sending

if TYPE_CHECKING:
    import gradio as gr

TITLE = "speechkit"

CALLS = ("trim", "load_text", "speak", "swap", "narrate", "convert", "codec", "drop", "detect")
"""Names of the endpoints for `gradio_client`; a job of its `submit` ends with `Job.cancel`."""

CONSENT = """
# speechkit
Use a voice only with the **consent** of the person it belongs to, and say that the result is
synthetic: it carries an inaudible **watermark**.
"""

CSS = """
.gradio-container { padding-top: 4px !important }
body:not(.dark) { --neutral-400: #6b6b74 }
:root body.dark { --color-accent: var(--primary-400) }
:root body.dark { --link-text-color: var(--primary-300);
  --link-text-color-visited: var(--primary-300); --link-text-color-hover: var(--primary-200) }
#consent h1, #consent p { margin: 0 }
/* A result is shown when there is one. */
.result:has(.empty), .results:has(.result.block .empty) .sends { display: none !important }
.report .pending, .report.pending { opacity: 1 !important }
.report progress { width: 50%; height: 10px; appearance: none }
.report progress::-webkit-progress-bar { background: var(--neutral-300); border-radius: 5px }
.report progress::-webkit-progress-value { background: var(--primary-600); border-radius: 5px }
.report progress::-moz-progress-bar { background: var(--primary-600) }
.report :is(th, td) { white-space: nowrap; padding: 4px 8px !important }
.recording { min-height: 0 !important }
footer .divider { display: none }
"""

JS = """
document.addEventListener("keydown", event => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const go = [...document.querySelectorAll("button.go")].find(one => one.offsetParent);
  if (go) { event.preventDefault(); event.stopPropagation(); go.click(); }
}, true);
document.addEventListener("click", event => {
  const report = event.target.closest("button.go")?.closest(".tabitem")?.querySelector(".report");
  if (report) setTimeout(() => report.scrollIntoView({block: "nearest"}), 200);
});
"""
"""Ctrl+Enter (on a Mac ⌘+Enter) presses the button of the tab that is seen; the progress that
follows comes into view."""

DELETE_EVERY_SECONDS, DELETE_AFTER_SECONDS = 300, 1800


def build(app: AppState) -> "gr.Blocks":
    """The page, ready to be launched; touches no network."""
    import gradio as gr

    with gr.Blocks(
        title=TITLE,
        analytics_enabled=False,
        delete_cache=(DELETE_EVERY_SECONDS, DELETE_AFTER_SECONDS),
    ) as demo:
        gr.Markdown(CONSENT, elem_id="consent")
        with gr.Tabs(elem_id="tabs") as tabs:
            made = {
                "speak": add_speak(app, demo.load),
                "swap": add_swap(app),
                "script": add_script(app),
                "convert": add_convert(app),
                "codec": add_codec(app),
                "detect": add_detect(app),
            }
        sending(app, tabs, made)
        gr.Markdown(_about(app), elem_id="about")

        def leave(request: gr.Request) -> None:
            """Clean up behind a closed tab."""
            app.leave(session_of(request))

        demo.unload(leave)
    page: gr.Blocks = demo
    return page


def look() -> dict[str, Any]:
    """Theme, style and keys, for `launch`."""
    import gradio as gr

    theme = gr.themes.Default(
        primary_hue="blue", neutral_hue="zinc", font=["system-ui", "sans-serif"]
    ).set(
        # Contrast 4.5 and more on white as on black.
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        color_accent="*primary_600",
        body_text_color_subdued="*neutral_500",
    )
    return {"theme": theme, "css": CSS, "head": f"<script>{JS}</script>"}


def _about(app: AppState) -> str:
    limits = app.limits
    return (
        "Not for impersonation, deceit, or getting past a voice check. The example voices are "
        "synthetic and belong to nobody. The tab Detect finds the watermark of what the other "
        "tabs make, but for Codec.\n\n"
        f"Uploads: WAV, FLAC, Ogg or MP3 of at most {limits.max_file_mb:g} MiB and "
        f"{limits.max_prompt_seconds:g} s; texts: at most {limits.max_text_characters} characters, "
        f"long ones {limits.max_script_characters}. "
        "Jobs run one at a time. Ctrl+Enter starts that of the tab. Files are deleted when the "
        "tab is closed, after half an hour, and when the demo ends."
    )
