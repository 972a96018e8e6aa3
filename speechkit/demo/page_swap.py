"""The tab Factor swap: each attribute from its own prompt, before and after."""

from typing import Any

from speechkit.demo import plots, swaps
from speechkit.demo.limits import checked_number, checked_seed, checked_text
from speechkit.demo.page_speak import DEFAULT_TEXT
from speechkit.demo.studio import Studio, escaped, note_lines, playable, session_of, shown_errors
from speechkit.demo.swaps import ATTRIBUTES, Swapped
from speechkit.demo.widgets import (
    JOB,
    KEEP_SECONDS,
    cancel_button,
    cancelling,
    example_prompts,
    prompt_box,
    seed_box,
    speed_slider,
    steps_slider,
)

TEXT, RECORDING = "Text", "Recording"

HELP = """
Give a prompt for each attribute that is to come from somewhere else; an empty one stays with the
base. **timbre** is the voice, **prosody** the melody, **duration** the rhythm, **content** the way
phones are pronounced, **detail** the acoustic rest. Of each prompt the best three seconds are used.
"""

CAPTION = """
Similarity is the cosine of the codec's timbre vectors, of the speech and of each prompt. It tells
how like two voices are to the codec, which made both, and not to a listener.
"""


def add_swap(studio: Studio) -> None:
    """Lay out the tab and wire it up."""
    import gradio as gr

    with gr.Tab("Factor swap", elem_id="tab-swap"):
        gr.Markdown(HELP)
        with gr.Row():
            with gr.Column():
                mode = gr.Radio(
                    [(TEXT, TEXT), ("Recording, no text", RECORDING)],
                    value=TEXT,
                    label="What is spoken",
                    elem_id="swap-mode",
                )
                text = gr.Textbox(DEFAULT_TEXT, label="Text", lines=3, elem_id="swap-text")
                with gr.Row():
                    speed, steps = speed_slider("swap-speed"), steps_slider("swap-steps")
                    seed = seed_box("swap-seed")
            with gr.Column():
                base = prompt_box("swap-base", "Base prompt: what no other prompt gives")
                recording = prompt_box(
                    "swap-recording",
                    f"Recording whose factors are swapped, up to {swaps.MAX_RECORDING_SECONDS:g} s",
                )
        with gr.Row():
            boxes = [prompt_box(f"swap-{name}", f"{name} from") for name in ATTRIBUTES]
        example_prompts(studio, [base, boxes[1]], "swap-examples", "Examples: base → prosody")
        with gr.Row():
            go = gr.Button("Swap", variant="primary", elem_id="swap-go")
            stop = cancel_button("swap-cancel")
        outputs = _outputs()
    parts = _handlers(studio)
    recording.visible = False
    mode.change(parts["show"], mode, [text, base, recording], api_visibility="private")
    job = go.click(
        parts["swap"],
        [mode, text, recording, base, *boxes, speed, steps, seed],
        outputs,
        api_name="swap",
        **JOB,
    )
    cancelling(studio, stop, [job])


def _outputs() -> list[Any]:
    """Players, report and pictures."""
    import gradio as gr

    with gr.Row():
        players = [
            gr.Audio(label=label, format="wav", buttons=["download"], elem_id=elem_id)
            for label, elem_id in (("Before", "swap-before"), ("After", "swap-after"))
        ]
    report = gr.Markdown(label="Report", elem_id="swap-report")
    picture = gr.Plot(label="Pitch and spectrograms", elem_id="swap-picture")
    durations = gr.Plot(label="How long each phone lasts", elem_id="swap-durations")
    likeness = gr.Plot(label="Similarity to each prompt", elem_id="swap-similarity")
    gr.Markdown(CAPTION)
    return [*players, report, picture, durations, likeness]


def _handlers(studio: Studio) -> dict[str, Any]:
    """The functions behind the widgets."""
    import gradio as gr

    def show(mode: str) -> tuple[Any, Any, Any]:
        """Show what the mode needs."""
        text = mode == TEXT
        return gr.update(visible=text), gr.update(visible=text), gr.update(visible=not text)

    def swap(
        mode: str,
        text: str,
        recording: str | None,
        base: str | None,
        timbre: str | None,
        prosody: str | None,
        duration: str | None,
        content: str | None,
        detail: str | None,
        speed: float,
        steps: float,
        seed: float,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio finds it by this default
    ) -> tuple[Any, ...]:
        """Speech with each attribute from its own prompt; what is empty comes from the base."""
        with shown_errors():
            settings: dict[str, Any] = {
                "keep_seconds": KEEP_SECONDS,
                "speed": checked_number(speed, 0.25, 4, "The speed"),
                "steps": int(checked_number(steps, 0, 64, "The steps")),
                "seed": checked_seed(seed),
            }
            session = session_of(request)
            paths = zip(ATTRIBUTES, (timbre, prosody, duration, content, detail), strict=True)
            prompts = {
                name: studio.prompt(path, f"The prompt for {name}", session)
                for name, path in paths
                if path
            }
            if mode == TEXT:
                text = checked_text(text, studio.limits)
                base_T = studio.prompt(base, "The base prompt", session)
                with studio.turn(session, progress) as report:
                    made = swaps.swap_text(
                        studio.models, text, base_T, prompts, report=report, **settings
                    )
            else:
                wave_T = studio.recording(
                    recording, "The recording", session, max_seconds=swaps.MAX_RECORDING_SECONDS
                )
                with studio.turn(session, progress) as report:
                    made = swaps.swap_recording(
                        studio.models, wave_T, prompts, report=report, **settings
                    )
            return _view(studio, made, tuple(prompts))

    return {"show": show, "swap": swap}


def _view(studio: Studio, made: Swapped, swapped: tuple[str, ...]) -> tuple[Any, ...]:
    """A result as the page shows it."""
    before, after = made.before, made.after
    rate_hz = after.sample_rate_hz
    frame_ms = 1000 * studio.models.codec.hop_samples / rate_hz
    notes = dict.fromkeys((*before.notes, *after.notes))
    report = (
        f"Swapped: **{', '.join(swapped)}** · before {before.seconds:.2f} s, after "
        f"{after.seconds:.2f} s · {made.took_seconds:.1f} s for everything · seed {after.seed}\n\n"
        f"Weights: {escaped(studio.models.tts.weights)}{note_lines(tuple(notes))}"
    )
    names = [f"{name} prompt" if name in ATTRIBUTES else name for name in made.likeness]
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
        plots.similarity_figure(
            names,
            [pair[0] for pair in made.likeness.values()],
            [pair[1] for pair in made.likeness.values()],
        ),
    )
