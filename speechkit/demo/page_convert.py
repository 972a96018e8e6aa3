"""The tab Convert: a recording in the voice of a prompt."""

from typing import Any

from speechkit.conversion import DETAIL, MAX_SEMITONES
from speechkit.demo import jobs, plots
from speechkit.demo.limits import checked_number, checked_seed
from speechkit.demo.studio import Studio, escaped, note_lines, playable, session_of, shown_errors
from speechkit.demo.widgets import (
    JOB,
    cancel_button,
    cancelling,
    example_prompts,
    prompt_box,
    seed_box,
)

TARGET_SECONDS = 30.0
"""What is kept of the target: its timbre is a mean, which gets better with length."""


def add_convert(studio: Studio) -> None:
    """Lay out the tab and wire it up."""
    import gradio as gr

    with gr.Tab("Convert", elem_id="tab-convert"):
        gr.Markdown(
            "What a recording says, as it says it, in another voice: its codes, that timbre."
        )
        with gr.Row():
            source = prompt_box(
                "convert-source", f"Recording, up to {studio.limits.max_recording_seconds:g} s"
            )
            target = prompt_box("convert-target", "Prompt: the voice to convert to")
        example_prompts(studio, [source, target], "convert-examples", "Examples: recording → voice")
        with gr.Row():
            pitch = gr.Slider(
                -MAX_SEMITONES,
                MAX_SEMITONES,
                0,
                step=0.5,
                label="Pitch shift from the prompt's own pitch, in semitones",
                elem_id="convert-pitch",
            )
            detail = gr.Checkbox(
                DETAIL,
                label="Keep the recording's detail codes: clearer words, less likeness",
                elem_id="convert-detail",
            )
            seed = seed_box("convert-seed")
        with gr.Row():
            go = gr.Button("Convert", variant="primary", elem_id="convert-go")
            stop = cancel_button("convert-cancel")
        result = gr.Audio(
            label="Converted", format="wav", buttons=["download"], elem_id="convert-result"
        )
        report = gr.Markdown(label="Report", elem_id="convert-report")
        picture = gr.Plot(label="Pitch and spectrograms", elem_id="convert-picture")
    parts = _handlers(studio)
    job = go.click(
        parts["convert"],
        [source, target, pitch, detail, seed],
        [result, report, picture],
        api_name="convert",
        **JOB,
    )
    cancelling(studio, stop, [job])


def _handlers(studio: Studio) -> dict[str, Any]:
    """The functions behind the widgets."""
    import gradio as gr

    def convert(
        source: str | None,
        target: str | None,
        pitch: float,
        detail: bool,
        seed: float,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio finds it by this default
    ) -> tuple[Any, str, Any]:
        """The source in the voice of the target, its pitch shifted by semitones."""
        with shown_errors():
            settings: dict[str, Any] = {
                "keep_seconds": TARGET_SECONDS,
                "pitch_shift_semitones": checked_number(
                    pitch, -MAX_SEMITONES, MAX_SEMITONES, "The pitch shift"
                ),
                "detail": bool(detail),
                "seed": checked_seed(seed),
            }
            session = session_of(request)
            source_T = studio.recording(source, "The recording", session)
            target_T = studio.prompt(target, "The prompt", session)
            with studio.turn(session, progress) as report:
                made = jobs.convert(studio.models, source_T, target_T, report=report, **settings)
            return _view(studio, made)

    return {"convert": convert}


def _view(studio: Studio, made: jobs.Converted) -> tuple[Any, str, Any]:
    """A result as the page shows it."""
    result = made.made
    factor = made.took_seconds / result.seconds
    report = (
        f"**{result.seconds:.2f} s** in **{made.took_seconds:.2f} s**: real-time factor "
        f"**{factor:.2f}** · seed **{result.seed}** · of the prompt, "
        f"{made.kept.start_seconds:.1f} to {made.kept.end_seconds:.1f} s were used\n\n"
        f"Weights: {escaped(studio.models.converter.weights)}{note_lines(result.notes)}"
    )
    figure = plots.pair_figure(
        made.source_T, result.wave_T, result.sample_rate_hz, ("recording", "converted")
    )
    return playable(result.wave_T, result.sample_rate_hz), report, figure
