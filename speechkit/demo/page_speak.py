"""The tab Speak: a text in the voice of a prompt."""

import secrets
from collections.abc import Iterator
from functools import partial
from typing import Any

from speechkit.core.audio import read_audio
from speechkit.core.prompt import prepare_prompt
from speechkit.demo import jobs, plots
from speechkit.demo import widgets as ui
from speechkit.demo.limits import (
    MAX_SEED,
    checked_number,
    checked_seed,
    checked_text,
    read_text_file,
)
from speechkit.demo.state import (
    AppState,
    escaped,
    folded,
    note_lines,
    playable,
    session_of,
    shown_errors,
)

DEFAULT_TEXT = "The quick brown fox jumped over the lazy dog, and nobody on the pier had noticed."


def add_speak(app: AppState, load: Any) -> ui.Tab:
    """Lay out the tab and wire it up; `load` is the page's event."""
    import gradio as gr

    with gr.Tab("Speak", id="speak", elem_id="tab-speak"), gr.Row():
        with gr.Column():
            text = gr.Textbox(DEFAULT_TEXT, label="Text (English)", lines=2, elem_id="text")
            label = "Voice: 1 s or more of one speaker"
            prompt = ui.audio_box(app, "prompt", label, prompt=True)
            ui.example_voices(app, prompt, "examples")
            with gr.Accordion("Settings, and a text from a file", open=False, elem_id="settings"):
                with gr.Row():
                    speed, steps = ui.speed_slider("speed"), ui.steps_slider("steps")
                with gr.Row():
                    seed = ui.seed_box("seed")
                    random = gr.Checkbox(False, label="A new seed each time", elem_id="random-seed")
                file = gr.File(
                    label="Text file (UTF-8)",
                    file_types=[".txt", ".md"],
                    type="filepath",
                    height=120,
                    elem_id="text-file",
                )
                keep = ui.unchecked(
                    gr.Slider(
                        *(1, 30, ui.KEEP_SECONDS),
                        step=0.5,
                        label="Seconds kept of the voice",
                        elem_id="prompt-seconds",
                    )
                )
                trimmed = ui.picture_box("trimmed", "What is kept of the voice")
                trim_note = gr.Markdown(elem_id="trim-note")
            go, stop = ui.go_and_cancel("Speak", "go", "cancel")
        with gr.Column(elem_classes="results"):
            speech = ui.result_box("speech", "Speech")
            sends = ui.send_row("speech")
            report = ui.report_line("report")
            picture = ui.picture_box("picture", "Spectrogram and phones")
            with gr.Accordion("Every phone with its times", open=False, elem_classes="sends"):
                table = gr.Dataframe(
                    headers=["phone", "start, s", "end, s"],
                    datatype=["str", "number", "number"],
                    max_height=300,
                    interactive=False,
                    elem_id="phone-table",
                )
    outputs = [speech, report, picture, table]
    trim, preview, load_text, speak = _handlers(app)
    shown: dict[str, Any] = {"outputs": [trimmed, trim_note], "show_progress": "hidden"}
    prompt.change(preview, [prompt, keep], **shown, **ui.LIGHT)
    keep.release(trim, [prompt, keep], **shown, api_name="trim")
    file.upload(load_text, file, text, api_name="load_text")
    inputs = [prompt, text, file, keep, speed, steps, seed, random]
    job = go.click(speak, inputs, outputs, show_progress_on=report, api_name="speak", **ui.JOBS)
    ui.cancelling(app, stop, [job], report)

    def finished() -> Iterator[tuple[Any, ...]]:
        wave_T = read_audio(app.examples[0], app.sample_rate_hz)
        settings: dict[str, Any] = {
            "keep_seconds": ui.KEEP_SECONDS,
            "speed": 1.0,
            "steps": 0,
            "seed": 0,
        }
        work = partial(jobs.speak, app.models, wave_T, DEFAULT_TEXT, **settings)
        return app.staged(lambda report: work(report=report), partial(_view, app), 4, 1)

    if app.examples:
        # As an initial value, Gradio's player would load it twice and stumble.
        load(lambda: str(app.examples[0]), None, prompt, show_progress="hidden", **ui.LIGHT)
    ui.opens_with(app, load, finished, outputs, report)
    return ui.Tab(box=prompt, result=speech, sends=sends)


def _handlers(app: AppState) -> tuple[Any, ...]:
    """The functions behind the widgets."""
    import gradio as gr

    def trim(prompt: str | None, prompt_seconds: float, request: gr.Request) -> tuple[Any, str]:
        """What of a prompt is kept."""
        if not prompt:
            return None, ""
        with shown_errors():
            seconds = checked_number(prompt_seconds, 1, 30, "The seconds of the prompt")
            wave_T = app.prompt(prompt, "The prompt", session_of(request))
            kept = prepare_prompt(wave_T, app.sample_rate_hz, max_seconds=seconds)
            figure = plots.trim_figure(wave_T, app.sample_rate_hz, kept.parts_seconds)
            return figure, f"Kept: {kept.parts}."

    def preview(prompt: str | None, prompt_seconds: float, request: gr.Request) -> tuple[Any, str]:
        """The same for the page, whose boxes say themselves what is wrong with a recording."""
        try:
            return trim(prompt, prompt_seconds, request)
        except gr.Error:
            return None, ""

    def load_text(text_file: str | None) -> str:
        """The text of a file."""
        if not text_file:
            return ""
        with shown_errors():
            return checked_text(read_text_file(text_file, (app.uploads,), app.limits), app.limits)

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
    ) -> Iterator[tuple[Any, ...]]:
        """The text in the voice of the prompt; a text file counts where the text is empty."""
        with shown_errors():
            if text_file and not (text or "").strip():
                text = read_text_file(text_file, (app.uploads,), app.limits)
            work = partial(
                jobs.speak,
                app.models,
                text=checked_text(text, app.limits),
                keep_seconds=checked_number(prompt_seconds, 1, 30, "The seconds of the prompt"),
                speed=checked_number(speed, 0.25, 4, "The speed"),
                steps=int(checked_number(steps, 0, 64, "The steps")),
                seed=secrets.randbelow(MAX_SEED) if random_seed else checked_seed(seed),
                prompt_T=app.prompt(prompt, "The voice", session_of(request)),
            )
            yield from app.staged(lambda report: work(report=report), partial(_view, app), 4, 1)

    return trim, preview, load_text, speak


def _view(app: AppState, made: jobs.Spoken) -> tuple[Any, ...]:
    """A result as the page shows it."""
    speech = made.speech
    frame_seconds = app.models.codec.hop_samples / speech.sample_rate_hz
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
    details = (
        f"Seconds by stage: {escaped(stages)}; voice {made.prompt_took_seconds:.2f}. "
        f"Weights: {escaped(app.models.tts.weights)}."
    )
    report = (
        f"**{speech.seconds:.2f} s** of speech in **{made.speaking_took_seconds:.2f} s**: "
        f"real-time factor **{made.real_time_factor:.2f}** · seed **{speech.seed}**"
        f"{note_lines(speech.notes)}\n\n{folded(details)}"
    )
    if not app.models.tts.trained:
        report += "\n\n**The weights are untrained: what comes out is noise and not speech.**"
    return playable(speech.wave_T, speech.sample_rate_hz), report, figure, table
