"""The tab Detect: does a recording carry the mark of synthetic speech."""

from typing import Any

from speechkit.demo.studio import Studio, escaped, session_of, shown_errors
from speechkit.demo.widgets import JOB, cancel_button, cancelling, example_prompts, prompt_box
from speechkit.watermark import DEFAULT_PAYLOAD, Detection, detect
from speechkit.watermark.detection import MAX_P_VALUE

HELP = """
Is a recording marked as synthetic speech? The mark survives ordinary handling, codecs for instance.
It names the tool and proves little: whoever wants to can remove it, and other makers' speech has
none.
"""


def add_detect(studio: Studio) -> None:
    """Lay out the tab and wire it up."""
    import gradio as gr

    with gr.Tab("Detect", elem_id="tab-detect"):
        gr.Markdown(HELP)
        recording = prompt_box(
            "detect-recording", f"Recording, up to {studio.limits.max_recording_seconds:g} s"
        )
        example_prompts(studio, [recording], "detect-examples", "Examples, unmarked")
        with gr.Row():
            go = gr.Button("Look for the mark", variant="primary", elem_id="detect-go")
            stop = cancel_button("detect-cancel")
        report = gr.Markdown(label="Report", elem_id="detect-report")

    def look(
        recording: str | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio finds it by this default
    ) -> str:
        """Whether a recording is marked, and how sure that is."""
        with shown_errors():
            session = session_of(request)
            wave_T = studio.recording(recording, "The recording", session)
            with studio.turn(session, progress) as tell:
                tell(0.1, "looking for the mark")
                found = detect(wave_T, studio.sample_rate_hz)
            return detection_lines(found)

    job: Any = go.click(look, recording, report, api_name="detect", **JOB)
    cancelling(studio, stop, [job])


def detection_lines(found: Detection) -> str:
    """A finding in words."""
    if found.note:
        return f"**Nothing can be said**: the recording is {escaped(found.note)}."
    chance = f"{max(found.p_value, 1e-99):.1g}"
    if not found.present:
        return (
            "**No watermark found.** An unmarked recording looks at least this much like a marked "
            f"one with a chance of {chance}; a mark counts as found below {MAX_P_VALUE:g}."
        )
    maker = "speechkit" if found.payload == DEFAULT_PAYLOAD else "not the one speechkit writes"
    return (
        f"**Watermarked: synthetic speech.** The chance that an unmarked recording looks like this "
        f"is at most {chance}, so the confidence is {_confidence(found.p_value)}. "
        f"Payload {found.payload:#06x} ({maker}); found in about {found.marked_seconds:.1f} s of "
        f"{found.seconds:.1f} s."
    )


def _confidence(p_value: float) -> str:
    """Its complement in percent, never rounded up to certainty."""
    return f"{100 * (1 - p_value):.4f} %" if p_value >= 1e-6 else "over 99.9999 %"
