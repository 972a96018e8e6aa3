"""The tab Factor swap: a recording, or a text, with some of its factors from another voice."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor

from speechkit.core.errors import ConfigError
from speechkit.demo import jobs, plots
from speechkit.demo import widgets as ui
from speechkit.demo.limits import checked_number, checked_seed, checked_text
from speechkit.demo.page_speak import DEFAULT_TEXT
from speechkit.demo.state import (
    AppState,
    escaped,
    folded,
    note_lines,
    playable,
    session_of,
    shown_errors,
)
from speechkit.swap import FACTORS, MAX_SECONDS

RECORDING, TEXT = "Recording", "Text"
_BASE = {RECORDING: "Recording to change", TEXT: "Voice that says it"}

MEANINGS = {
    "timbre": "timbre: voice",
    "prosody": "prosody: F0 contour",
    "duration": "duration: rhythm",
    "content": "content: pronunciation",
    "detail": "detail: the rest",
}

HELP = """
Speech is five factors here, and each can come from somebody else. Play **Before** and **After**:
the words stay, what you tick comes from the other voice.
"""

TEXT_FREE = f"""
No transcript is needed, and none is guessed. The codec turns the recording into
codes, 50 frames a second: one codebook for prosody, two for content, three for detail, beside one
timbre vector for the whole. A recogniser tells which phone each frame belongs to.

- **Timbre** of another voice takes the place of the timbre vector; all codes stay.
- **Prosody, content or detail** of another voice are drawn anew by the generator's stage for it,
  with that voice as prompt, on the phones of the recording.
- **Duration** stretches each phone to the other voice's pace, pauses, vowels and consonants apart.
- What you do not tick keeps its codes. Of a recording over {MAX_SECONDS:g} s, that much is used.

With **A text**, a voice says what you write, and the factors are mixed before it speaks.
"""

_DELIVERY = ["timbre", "prosody", "duration"]
# Mode, base, other voice, factors, what it shows. Of the thirty pairs, these convince by numbers:
# Emma with Fenrir's timbre has his pitch, and Resemblyzer finds 0.75 of him in it and 0.67 of her;
# at George's pace Heart takes 3.8 s in place of 5.1; Whisper hears every word of the recordings.
EXAMPLES = (
    (RECORDING, "bf_emma", "am_fenrir", ["timbre"], "Voice"),
    (RECORDING, "bf_emma", "am_fenrir", _DELIVERY, "Voice, F0, rhythm"),
    (RECORDING, "af_heart", "bm_george", ["duration"], "Rhythm"),
    (RECORDING, "af_heart", "am_michael", ["prosody"], "F0 contour"),
    (TEXT, "af_bella", "bm_george", ["prosody", "duration"], "A text, F0, rhythm"),
)


def add_swap(app: AppState) -> ui.Tab:
    """Lay out the tab and wire it up."""
    import gradio as gr

    clips = {path.stem.removeprefix("synthetic_"): path for path in app.examples}
    rows = [row for row in EXAMPLES if {row[1], row[2]} <= set(clips)]
    first = rows[0] if rows else (RECORDING, "", "", ["timbre"], "")
    with gr.Tab("Factor swap", id="swap", elem_id="tab-swap") as tab:
        gr.Markdown(HELP)
        tried = gr.Column(min_width=0)
        with gr.Row():
            with gr.Column():
                choices = [("A recording, no text", RECORDING), ("A text", TEXT)]
                mode = ui.unchecked(
                    gr.Radio(choices, value=RECORDING, show_label=False, elem_id="swap-mode")
                )
                text = gr.Textbox(
                    DEFAULT_TEXT, label="Text", lines=2, elem_id="swap-text", visible=False
                )
                with gr.Row():
                    label = _BASE[RECORDING]
                    base = ui.audio_box(app, "swap-base", label, clips.get(first[1]), prompt=True)
                    label = "Another voice"
                    other = ui.audio_box(app, "swap-other", label, clips.get(first[2]), prompt=True)
                factors = ui.unchecked(
                    gr.CheckboxGroup(
                        [(MEANINGS[name], name) for name in FACTORS],
                        value=first[3],
                        label="Taken from the other voice",
                        elem_id="swap-factors",
                    )
                )
                go, stop = ui.go_and_cancel("Swap", "swap-go", "swap-cancel")
            with gr.Column(elem_classes="results"):
                players = [
                    ui.result_box("swap-before", "Before"),
                    ui.result_box("swap-after", "After"),
                ]
                sends = ui.send_row("swap-after")
                report = ui.report_line("swap-report")
        with gr.Row():
            with gr.Column():
                own, speed, steps, seed = _more(app)
                with gr.Accordion("How it does without a text", open=False, elem_id="swap-how"):
                    gr.Markdown(TEXT_FREE)
            with gr.Column():
                pictures = [
                    ui.picture_box("swap-picture", "Pitch and spectrograms"),
                    ui.picture_box("swap-durations", "How long each phone lasts"),
                ]
    with tried:
        ui.examples(
            app,
            [[r[0], str(clips[r[1]]), str(clips[r[2]]), r[3]] for r in rows],
            [f"{r[4]}: {_given(r[1])} ← {_given(r[2])}" for r in rows],
            [mode, base, other, factors],
            "swap-examples",
        )
    outputs = [*players, report, *pictures]
    swap, show = _handlers(app)
    mode.change(show, mode, [text, base], show_progress="hidden", **ui.LIGHT)
    inputs = [mode, text, base, other, factors, *own, speed, steps, seed]
    job = go.click(swap, inputs, outputs, show_progress_on=report, api_name="swap", **ui.JOBS)
    ui.cancelling(app, stop, [job], report)

    def finished() -> Iterator[tuple[Any, ...]]:
        paths = [box.value["path"] for box in (base, other)]
        base_T, other_T = (app.prompt(path, "It", "") for path in paths)
        prompts = {name: (ui.voice_name(paths[1]), other_T) for name in first[3]}
        settings: dict[str, Any] = {
            "keep_seconds": ui.KEEP_SECONDS,
            "speed": 1.0,
            "steps": 0,
            "seed": 0,
        }
        return _swapping(app, None, (ui.voice_name(paths[0]), base_T), prompts, settings)

    ui.opens_with(app, tab.select, finished, outputs, report)
    return ui.Tab(box=base, result=players[1], sends=sends)


def _given(name: str) -> str:
    """The first name of a bundled voice."""
    return ui.voice_name(f"synthetic_{name}").split(",")[0]


def _more(app: AppState) -> tuple[list[Any], Any, Any, Any]:
    """What one seldom needs: five boxes, speed, steps, seed."""
    import gradio as gr

    title = "A voice of its own for a factor"
    with gr.Accordion(title, open=False, elem_id="swap-voices"), gr.Row():
        own = [ui.audio_box(app, f"swap-{name}", f"{name} from", prompt=True) for name in FACTORS]
    with gr.Accordion("Settings", open=False, elem_id="swap-settings"), gr.Row():
        speed, steps, seed = (
            ui.speed_slider("swap-speed"),
            ui.steps_slider("swap-steps"),
            ui.seed_box("swap-seed"),
        )
    return own, speed, steps, seed


def _handlers(app: AppState) -> tuple[Any, ...]:
    """The functions behind the widgets."""
    import gradio as gr

    def show(mode: str) -> tuple[Any, Any]:
        """Show what the mode needs."""
        return gr.update(visible=mode == TEXT), gr.update(label=_BASE.get(mode, ""))

    def swap(
        mode: str,
        text: str,
        base: str | None,
        other: str | None,
        factors: list[str],
        timbre: str | None,
        prosody: str | None,
        duration: str | None,
        content: str | None,
        detail: str | None,
        speed: float,
        steps: float,
        seed: float,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """The base with `factors` from the other voice, or each from a voice of its own.

        `mode` "Recording" changes the base itself, "Text" says the text in its voice.
        """
        with shown_errors():
            if mode not in (RECORDING, TEXT):
                raise ConfigError(f"The mode must be {RECORDING} or {TEXT}.")
            if not set(factors or ()) <= set(FACTORS):
                raise ConfigError(f"There is no such factor: choose from {', '.join(FACTORS)}.")
            settings = {
                "keep_seconds": ui.KEEP_SECONDS,
                "speed": checked_number(speed, 0.25, 4, "The speed"),
                "steps": int(checked_number(steps, 0, 64, "The steps")),
                "seed": checked_seed(seed),
            }
            said = checked_text(text, app.limits) if mode == TEXT else None
            session = session_of(request)
            base_T = app.prompt(base, _BASE[mode], session)
            own = zip(FACTORS, (timbre, prosody, duration, content, detail), strict=True)
            prompts = {
                name: (
                    ui.voice_name(path or other or ""),
                    app.prompt(path or other, f"The voice for {name}", session),
                )
                for name, path in own
                if path or name in (factors or ())
            }
            yield from _swapping(app, said, (ui.voice_name(base or ""), base_T), prompts, settings)

    return swap, show


def _swapping(
    app: AppState,
    text: str | None,
    base: tuple[str, Tensor],
    prompts: dict[str, tuple[str, Tensor]],
    settings: dict[str, Any],
) -> Iterator[tuple[Any, ...]]:
    """The job, stage by stage; a recording stands with the name of who is heard in it."""
    waves = {name: wave_T for name, (_, wave_T) in prompts.items()}
    names = {"base": base[0], **{name: who for name, (who, _) in prompts.items()}}
    work = partial(jobs.swap, app.models, text, base[1], waves, **settings)
    return app.staged(lambda report: work(report=report), partial(_view, app, names), 5, 2)


def _given_by(names: dict[str, str]) -> str:
    """Who gave what, in words."""
    givers: dict[str, list[str]] = {}
    for factor in (name for name in FACTORS if name in names):
        givers.setdefault(names[factor], []).append(factor)
    parts = [f"**{', '.join(f)}** from **{escaped(who)}**" for who, f in givers.items()]
    return f"Took {'; '.join(parts)}; everything else stays **{escaped(names['base'])}**."


def _view(app: AppState, names: dict[str, str], made: jobs.Swapped) -> tuple[Any, ...]:
    """A result as the page shows it."""
    before, after = made.before, made.after
    rate_hz = after.sample_rate_hz
    frame_ms = 1000 * app.models.codec.hop_samples / rate_hz
    notes = dict.fromkeys((*before.notes, *after.notes))
    # One voice may give several factors.
    likeness = {names[name]: pair for name, pair in made.similarity.items()}
    rows = "".join(
        f"\n| {escaped(who)} | {first:.2f} | {second:.2f} |"
        for who, (first, second) in likeness.items()
    )
    details = (
        f"Seed {after.seed}; weights {escaped(app.models.tts.weights)}.\n\n"
        "Similarity is the cosine of the codec's timbre vectors: how like two voices are to the "
        f"codec, which made both, and not to a listener."
    )
    report = (
        f"{_given_by(names)} {before.seconds:.2f} s before, {after.seconds:.2f} s after; made in "
        f"{made.took_seconds:.1f} s.{note_lines(tuple(notes))}\n\n"
        f"| similarity of timbre to | before | after |\n| --- | --- | --- |{rows}\n\n"
        f"{folded(details)}"
    )
    return (
        playable(before.wave_T, rate_hz),
        playable(after.wave_T, rate_hz),
        report,
        plots.pair_figure(before.wave_T, after.wave_T, rate_hz, ("before", "after")),
        plots.durations_figure(
            after.phones,
            [frames * frame_ms for frames in before.frames],
            [frames * frame_ms for frames in after.frames],
        ),
    )
