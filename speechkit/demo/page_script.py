"""The tab Dialogue, long text: many lines in several voices, or many pages in one."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from speechkit.core.audio import read_audio
from speechkit.core.errors import ConfigError
from speechkit.demo import jobs
from speechkit.demo import widgets as ui
from speechkit.demo.limits import checked_number, checked_seed, checked_text, read_text_file
from speechkit.demo.state import (
    AppState,
    escaped,
    folded,
    note_lines,
    playable,
    session_of,
    shown_errors,
)
from speechkit.subtitles import cues, srt, vtt
from speechkit.text.script import Line, Part, check_voices, read_dialogue, read_script

DIALOGUE, TEXT = "Dialogue", "Text"
OWN_VOICES = 2

TEXTS = {
    DIALOGUE: "Emma: Is the ferry still running today?\n"
    "George: It left ten minutes ago. [pause 0.5s] The next one goes at noon.\n"
    "Emma: Then there is time for breakfast.",
    TEXT: "The harbour lights were burning low, and nobody on the pier had noticed the fog.\n\n"
    "[pause 1s] By seven the first boats were out. She put the kettle on, sat down by the window, "
    "and waited for the rain to pass.",
}
"""What the box opens with."""

_NAME = re.compile(r"[^\W\d_][\w .'-]{0,39}")


def add_script(app: AppState) -> ui.Tab:
    """Lay out the tab and wire it up."""
    import gradio as gr

    with gr.Tab("Dialogue, long text", id="script", elem_id="tab-script") as tab, gr.Row():
        with gr.Column():
            mode, text, file, single, cast, inputs = _inputs(app)
            go, stop = ui.go_and_cancel("Speak all of it", "script-go", "script-cancel")
        with gr.Column(elem_classes="results"):
            result = ui.result_box("script-result", "All of it")
            sends = ui.send_row("script-result")
            report = ui.report_line("script-report")
            table = gr.Dataframe(
                headers=["start, s", "end, s", "words"],
                column_widths=["25%", "25%", "50%"],
                wrap=True,
                max_height=300,
                interactive=False,
                elem_id="script-table",
                elem_classes="sends",
            )
            files = gr.File(
                label="Subtitles",
                file_count="multiple",
                interactive=False,
                elem_id="script-files",
                elem_classes="result",
            )
    outputs = [result, report, table, files]
    narrate, show, load = _handlers(app)
    shown = [text, single, cast]
    mode.change(show, [mode, text], shown, show_progress="hidden", **ui.LIGHT)
    file.upload(load, file, text, show_progress="hidden", **ui.LIGHT)
    job = go.click(narrate, inputs, outputs, show_progress_on=report, api_name="narrate", **ui.JOBS)
    ui.cancelling(app, stop, [job], report)

    def finished() -> Iterator[tuple[Any, ...]]:
        parts = _parts(DIALOGUE, TEXTS[DIALOGUE], _names(app))
        return _narrating(app, parts, {}, "", {"speed": 1.0, "steps": 0, "seed": 0})

    ui.opens_with(app, tab.select, finished, outputs, report)
    return ui.Tab(box=None, result=result, sends=sends)


def _inputs(app: AppState) -> tuple[Any, ...]:
    """What the tab takes: mode, text, text file, what only one mode shows, and all in order."""
    import gradio as gr

    names = ", ".join(_names(app)) or "none"
    choices = [("A dialogue", DIALOGUE), ("A long text", TEXT)]
    mode = ui.unchecked(gr.Radio(choices, value=DIALOGUE, show_label=False, elem_id="script-mode"))
    text = gr.Textbox(
        TEXTS[DIALOGUE],
        label="Text (English), with [pause 0.5s] where it should wait",
        lines=7,
        max_lines=14,
        elem_id="script-text",
    )
    with gr.Column(visible=False, elem_id="script-single") as single:
        voice = ui.audio_box(app, "script-voice", "Voice that reads it", prompt=True)
        ui.example_voices(app, voice, "script-examples")
    with gr.Column(elem_id="script-cast") as cast:
        gr.Markdown(f"Begin a line with a name and a colon. These are there: {names}.")
        with gr.Accordion("Voices of your own", open=False, elem_id="script-voices"):
            own = [box for number in range(OWN_VOICES) for box in _own(app, number + 1)]
    title = "Settings, and a text from a file"
    with gr.Accordion(title, open=False, elem_id="script-settings"):
        with gr.Row():
            speed, steps = ui.speed_slider("script-speed"), ui.steps_slider("script-steps")
            seed = ui.seed_box("script-seed")
        file = gr.File(
            label="Text file (UTF-8)",
            file_types=[".txt", ".md", ".ssml", ".xml"],
            type="filepath",
            height=120,
            elem_id="script-file",
        )
    return mode, text, file, single, cast, [mode, text, voice, *own, speed, steps, seed]


def _own(app: AppState, number: int) -> tuple[Any, Any]:
    """A name and its recording."""
    import gradio as gr

    with gr.Row():
        name = gr.Textbox("", label="Name in the dialogue", elem_id=f"script-name-{number}")
        label = "Recording of that voice"
        return name, ui.audio_box(app, f"script-own-{number}", label, prompt=True)


def _names(app: AppState) -> dict[str, Path]:
    """First name → recording, of the bundled voices."""
    return {ui.voice_name(path).split(",")[0]: path for path in app.examples}


def _parts(mode: str, text: str, names: Any) -> tuple[Part, ...]:
    """What is said by whom; raises TextError for a line without a speaker or an unknown voice."""
    if mode == DIALOGUE:
        return read_dialogue(text, list(names))
    known = {name.casefold(): name for name in names}
    parts = tuple(
        replace(part, voice=known.get(part.voice.casefold(), part.voice))
        if isinstance(part, Line)
        else part
        for part in read_script(text)
    )
    check_voices(parts, list(names))
    return parts


def _handlers(app: AppState) -> tuple[Any, ...]:
    """The functions behind the widgets."""
    import gradio as gr

    def show(mode: str, text: str) -> tuple[Any, ...]:
        """Show what the mode needs, and its example unless something was written."""
        fresh = not (text or "").strip() or text in TEXTS.values()
        return (
            TEXTS.get(mode, "") if fresh else gr.skip(),
            gr.update(visible=mode == TEXT),
            gr.update(visible=mode == DIALOGUE),
        )

    def load(file: str | None) -> Any:
        """The text of a file."""
        if not file:
            return gr.skip()
        with shown_errors():
            return _checked(read_text_file(file, (app.uploads,), _bounds(app)), app)

    def narrate(
        mode: str,
        text: str,
        voice: str | None,
        name_1: str,
        own_1: str | None,
        name_2: str,
        own_2: str | None,
        speed: float,
        steps: float,
        seed: float,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """A dialogue between bundled voices and own ones, or a long text in one `voice`."""
        with shown_errors():
            if mode not in (DIALOGUE, TEXT):
                raise ConfigError(f"The mode must be {DIALOGUE} or {TEXT}.")
            session = session_of(request)
            own: dict[str, Any] = {}
            for name, path in ((name_1, own_1), (name_2, own_2)):
                if path:
                    if not _NAME.fullmatch((name or "").strip()):
                        raise ConfigError("Give your voice a name of letters, such as Anna.")
                    own[name.strip()] = app.prompt(path, f"The voice {name.strip()}", session)
            if mode == TEXT:
                own[""] = app.prompt(voice, "The voice", session)
            parts = _parts(mode, _checked(text, app), {**_names(app), **own})
            settings = {
                "speed": checked_number(speed, 0.25, 4, "The speed"),
                "steps": int(checked_number(steps, 0, 64, "The steps")),
                "seed": checked_seed(seed),
            }
            yield from _narrating(app, parts, own, session, settings)

    return narrate, show, load


def _bounds(app: AppState) -> Any:
    """The limits, with the longer text of this tab."""
    return replace(app.limits, max_text_characters=app.limits.max_script_characters)


def _checked(text: str, app: AppState) -> str:
    """A text of bearable length."""
    return checked_text(text, _bounds(app))


def _narrating(
    app: AppState,
    parts: tuple[Part, ...],
    own: dict[str, Any],
    session: str,
    settings: dict[str, Any],
) -> Iterator[tuple[Any, ...]]:
    """The job, stage by stage."""
    said_by = {part.voice for part in parts if isinstance(part, Line)}
    bundled = _names(app)
    waves = {
        name: own[name] if name in own else read_audio(bundled[name], app.sample_rate_hz)
        for name in sorted(said_by)
    }
    work = partial(jobs.narrate, app.models, parts, waves, keep_seconds=ui.KEEP_SECONDS, **settings)
    return app.staged(lambda report: work(report=report), partial(_view, app, session), 4, 1)


def _view(app: AppState, session: str, made: jobs.Narrated) -> tuple[Any, ...]:
    """A result as the page shows it."""
    speech = made.speech
    table = [
        [f"{cue.start_seconds:.2f}", f"{cue.end_seconds:.2f}", cue.text.replace("\n", " ")]
        for cue in cues(speech)
    ]
    files = [
        _kept(app, session, f"speech.{suffix}", write(speech))
        for suffix, write in (("srt", srt), ("vtt", vtt))
    ]
    report = (
        f"**{speech.seconds:.1f} s** of speech in **{made.took_seconds:.1f} s**: real-time factor "
        f"**{made.took_seconds / speech.seconds:.2f}** · {made.turns} turns, "
        f"{made.chunks} pieces · seed **{speech.seed}**{note_lines(speech.notes)}\n\n"
        + folded(f"Weights: {escaped(app.models.tts.weights)}.")
    )
    return playable(speech.wave_T, speech.sample_rate_hz), report, table, files


def _kept(app: AppState, session: str, name: str, text: str) -> str:
    """A file for download, which goes with its session."""
    folder = app.uploads / hashlib.sha256(text.encode()).hexdigest()
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    app.owns(session, path)
    return str(path)
