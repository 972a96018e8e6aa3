"""The whole page: consent, tabs, and what the speech carries."""

from typing import TYPE_CHECKING

from speechkit.demo.page_codec import add_codec
from speechkit.demo.page_convert import add_convert
from speechkit.demo.page_detect import add_detect
from speechkit.demo.page_speak import add_speak
from speechkit.demo.page_swap import add_swap
from speechkit.demo.studio import Studio, session_of

if TYPE_CHECKING:
    import gradio as gr

TITLE = "speechkit"

CONSENT = """
# speechkit
Text in the voice of a short recording; timbre, prosody, rhythm, pronunciation and detail each from
where you want them.

**Ask first.** Use a voice only with the consent of the person it belongs to, and say that the
result is synthetic. Not for impersonation, deceit, or getting past a voice check. The example
prompts are synthetic voices and belong to nobody.

**Watermark.** What Speak, Factor swap and Convert make carries an inaudible mark that says it is
synthetic; the tab Detect finds it.
"""

DELETE_EVERY_SECONDS, DELETE_AFTER_SECONDS = 300, 1800


def build(studio: Studio) -> "gr.Blocks":
    """The page, ready to be launched; touches no network."""
    import gradio as gr

    with gr.Blocks(
        title=TITLE,
        analytics_enabled=False,
        delete_cache=(DELETE_EVERY_SECONDS, DELETE_AFTER_SECONDS),
    ) as demo:
        gr.Markdown(CONSENT, elem_id="consent")
        with gr.Tabs(elem_id="tabs"):
            add_speak(studio)
            add_swap(studio)
            add_convert(studio)
            add_codec(studio)
            add_detect(studio)
        gr.Markdown(_about(studio), elem_id="about")

        def leave(request: gr.Request) -> None:
            """Clean up behind a closed tab."""
            studio.leave(session_of(request))

        demo.unload(leave)
    page: gr.Blocks = demo
    return page


def _about(studio: Studio) -> str:
    limits = studio.limits
    return (
        f"Uploads: WAV, FLAC, Ogg or MP3 of at most {limits.max_file_mb:g} MiB and "
        f"{limits.max_prompt_seconds:g} s; texts: at most {limits.max_text_characters} characters. "
        "Jobs run one at a time, and each tab may have one. Files are deleted when the tab is "
        "closed, after half an hour, and when the demo ends."
    )
