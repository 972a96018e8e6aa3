"""The tab Speak: a text in the voice of a prompt.

No postponed annotations in page modules: Gradio reads those of handlers when they are added.
"""

import secrets
from typing import Any

from speechkit.demo import jobs, plots
from speechkit.demo.limits import (
    MAX_SEED,
    checked_number,
    checked_seed,
    checked_text,
    read_text_file,
)
from speechkit.demo.studio import Studio, escaped, note_lines, playable, session_of, shown_errors
from speechkit.demo.trim import Kept, best_part
from speechkit.demo.widgets import (
    JOB,
    cancel_button,
    cancelling,
    example_prompts,
    keep_slider,
    prompt_box,
    seed_box,
    speed_slider,
    steps_slider,
)

DEFAULT_TEXT = "The quick brown fox jumped over the lazy dog, and nobody on the pier had noticed."


def add_speak(studio: Studio) -> None:
    """Lay out the tab and wire it up."""
    import gradio as gr

    with gr.Tab("Speak", elem_id="tab-speak"):
        with gr.Row():
            with gr.Column():
                prompt = prompt_box("prompt", "Prompt: 1 second or more of one clear voice")
                example_prompts(studio, [prompt], "examples")
                keep = keep_slider("prompt-seconds")
                kept = gr.Plot(label="What is kept of the prompt", elem_id="kept")
                kept_note = gr.Markdown(label="Kept", elem_id="kept-note")
            with gr.Column():
                text = gr.Textbox(DEFAULT_TEXT, label="Text (English)", lines=4, elem_id="text")
                file = gr.File(
                    label="or a text file (UTF-8)",
                    file_types=[".txt", ".md"],
                    type="filepath",
                    height=140,
                    elem_id="text-file",
                )
                with gr.Row():
                    speed, steps = speed_slider("speed"), steps_slider("steps")
                with gr.Row():
                    seed = seed_box("seed")
                    random = gr.Checkbox(False, label="A new seed each time", elem_id="random-seed")
                with gr.Row():
                    go = gr.Button("Speak", variant="primary", elem_id="go")
                    stop = cancel_button("cancel")
        speech = gr.Audio(label="Speech", format="wav", buttons=["download"], elem_id="speech")
        report = gr.Markdown(label="Report", elem_id="report")
        picture = gr.Plot(label="Spectrogram and phones", elem_id="picture")
        with gr.Accordion("Every phone with its times", open=False):
            table = gr.Dataframe(
                headers=["phone", "start, s", "end, s"],
                datatype=["str", "number", "number"],
                max_height=300,
                interactive=False,
                label="Phones",
                elem_id="phone-table",
            )
    parts = _handlers(studio)
    preview: dict[str, Any] = {
        "inputs": [prompt, keep],
        "outputs": [kept, kept_note],
        "show_progress": "minimal",
    }
    prompt.change(parts["trim"], api_name="trim", **preview)
    keep.release(parts["trim"], api_visibility="private", **preview)
    file.upload(parts["load_text"], file, text, api_name="load_text")
    job = go.click(
        parts["speak"],
        [prompt, text, file, keep, speed, steps, seed, random],
        [speech, report, picture, table],
        api_name="speak",
        **JOB,
    )
    cancelling(studio, stop, [job], api_name="cancel")


def _handlers(studio: Studio) -> dict[str, Any]:
    """The functions behind the widgets."""
    import gradio as gr

    def trim(prompt: str | None, prompt_seconds: float, request: gr.Request) -> tuple[Any, str]:
        """What of a prompt is kept."""
        if not prompt:
            return None, ""
        with shown_errors():
            seconds = checked_number(prompt_seconds, 1, 30, "The seconds of the prompt")
            wave_T = studio.prompt(prompt, "The prompt", session_of(request))
            part = best_part(wave_T, studio.sample_rate_hz, seconds)
            figure = plots.kept_figure(wave_T, part.sample_rate_hz, part.start, part.end)
            return figure, _kept_line(part)

    def load_text(text_file: str | None) -> str:
        """The text of a file."""
        if not text_file:
            return ""
        with shown_errors():
            text = read_text_file(text_file, (studio.uploads,), studio.limits)
            return checked_text(text, studio.limits)

    def speak(
        prompt: str | None,
        text: str,
        text_file: str | None,
        prompt_seconds: float,
        speed: float,
        steps: float,
        seed: float,
        random_seed: bool,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio finds it by this default
    ) -> tuple[Any, str, Any, list[list[Any]]]:
        """The text in the voice of the prompt; a text file counts where the text is empty."""
        with shown_errors():
            if text_file and not (text or "").strip():
                text = read_text_file(text_file, (studio.uploads,), studio.limits)
            text = checked_text(text, studio.limits)
            settings: dict[str, Any] = {
                "keep_seconds": checked_number(prompt_seconds, 1, 30, "The seconds of the prompt"),
                "speed": checked_number(speed, 0.25, 4, "The speed"),
                "steps": int(checked_number(steps, 0, 64, "The steps")),
                "seed": secrets.randbelow(MAX_SEED) if random_seed else checked_seed(seed),
            }
            session = session_of(request)
            wave_T = studio.prompt(prompt, "The prompt", session)
            with studio.turn(session, progress) as report:
                made = jobs.speak(studio.models, wave_T, text, report=report, **settings)
            return _view(studio, made)

    return {"trim": trim, "load_text": load_text, "speak": speak}


def _kept_line(part: Kept) -> str:
    length = len(part.wave_T) / part.sample_rate_hz
    return f"Kept: {part.start_seconds:.1f} to {part.end_seconds:.1f} s of {length:.1f} s."


def _view(studio: Studio, made: jobs.Spoken) -> tuple[Any, str, Any, list[list[Any]]]:
    """A result as the page shows it."""
    speech = made.speech
    frame_seconds = studio.models.codec.hop_samples / speech.sample_rate_hz
    ends, total = [], 0
    for frames in speech.frames:
        total += frames
        ends.append(total * frame_seconds)
    starts = [0.0, *ends[:-1]]
    table = [
        [phone.strip() or "pause", round(start, 2), round(end, 2)]
        for phone, start, end in zip(speech.phones, starts, ends, strict=True)
        if end > start
    ]
    figure = plots.speech_figure(speech.wave_T, speech.sample_rate_hz, speech.phones, ends)
    stages = ", ".join(f"{name} {took:.2f}" for name, took in speech.stages_seconds.items())
    report = (
        f"**{speech.seconds:.2f} s** of speech in **{made.speaking_took_seconds:.2f} s**: "
        f"real-time factor **{made.real_time_factor:.2f}** · seed **{speech.seed}** · "
        f"{escaped(_kept_line(made.kept))}\n\n"
        f"Seconds by stage: {escaped(stages)}; prompt {made.prompt_took_seconds:.2f}. "
        f"Weights: {escaped(studio.models.tts.weights)}{_noise(studio)}"
        f"{note_lines(speech.notes)}"
    )
    return playable(speech.wave_T, speech.sample_rate_hz), report, figure, table


def _noise(studio: Studio) -> str:
    """A warning where the weights are random."""
    if studio.models.tts.trained:
        return ""
    return "\n\n**The weights are untrained: what comes out is noise and not speech.**"
