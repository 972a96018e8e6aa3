"""Widgets that several tabs have, and how they are wired.

No postponed annotations here and in page modules: Gradio reads those of handlers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechkit.core.errors import SpeechkitError
from speechkit.core.prompt import prepare_prompt
from speechkit.demo.limits import MAX_SEED
from speechkit.demo.state import AppState, session_of, shown_errors

if TYPE_CHECKING:
    import gradio as gr

JOBS: dict[str, Any] = {
    "concurrency_id": "jobs",
    "concurrency_limit": 1,
    "trigger_mode": "once",
    "show_progress": "minimal",
}
"""How job events run: one at a time for everybody, in the order they came."""

LIGHT: dict[str, Any] = {"concurrency_limit": None, "api_visibility": "private"}
"""How events run that take no time: in the queue, or Gradio shows no message, but behind nobody."""

KEEP_SECONDS = 3.0
"""What the models look at: the generator sees no more than three seconds of a prompt."""

EXAMPLES_LABEL = "Examples: synthetic voices that belong to nobody"
_KINDS = {"a": "US", "b": "UK", "f": "woman", "m": "man"}


def voice_name(path: str | Path) -> str:
    """`synthetic_bm_george.flac` → George, UK man; another clip goes by its file's name."""
    stem = Path(path).stem
    _, _, rest = stem.partition("synthetic_")
    kind, _, name = rest.partition("_")
    if name and set(kind) <= set(_KINDS) and len(kind) == 2:
        return f"{name.title()}, {_KINDS[kind[0]]} {_KINDS[kind[1]]}"
    return stem


@dataclass(frozen=True, kw_only=True)
class Tab:
    """What a tab shares with the others: results go from one into the box of another."""

    box: Any
    """The recording that it takes, or None."""

    result: Any = None
    """The player of its result."""

    sends: tuple[Any, ...] = ()
    """Buttons that send the result on, one for each of `TARGETS`."""


TARGETS = {
    "prompt": ("speak", "Speak with this voice"),
    "convert": ("convert", "Convert it"),
    "detect": ("detect", "Look for its watermark"),
}
"""Where results go: end of the button's id → id of the tab, and what the button says."""


def send_row(elem_id: str) -> tuple[Any, ...]:
    """Buttons under a result; `sending` wires them when all tabs are there."""
    import gradio as gr

    with gr.Row(elem_classes="sends"):
        return tuple(
            gr.Button(says, size="sm", min_width=110, elem_id=f"{elem_id}-to-{name}")
            for name, (_, says) in TARGETS.items()
        )


def sending(app: AppState, tabs: "gr.Tabs", made: dict[str, Tab]) -> None:
    """Let results go into the boxes of other tabs; `made` has the tabs by their ids."""
    import gradio as gr

    def send(tab: str, path: str | None) -> tuple[Any, Any]:
        """A result as the recording of a tab, which comes to the front."""
        if path:
            # Others may have the same file before them: the example that a tab opens with.
            app.shared.add(str(Path(path).resolve()))
        return path, gr.Tabs(selected=tab)

    for source in made.values():
        for button, (tab, _) in zip(source.sends, TARGETS.values(), strict=False):
            outputs = [made[tab].box, tabs]
            button.click(
                partial(send, tab), source.result, outputs, show_progress="hidden", **LIGHT
            )


def audio_box(
    app: AppState, elem_id: str, label: str, value: Path | None = None, *, prompt: bool = False
) -> "gr.Audio":
    """A recording, by upload or microphone, as the path of a file; bad ones are refused at once."""
    import gradio as gr

    box = gr.Audio(
        str(value) if value else None,
        label=label,
        sources=["upload", "microphone"],
        type="filepath",
        elem_id=elem_id,
        buttons=["download"],
        elem_classes="recording",
    )

    def check(path: str | None, request: gr.Request) -> Any:
        """Keep a recording that can be used, and empty the box of another one."""
        try:
            if path:
                session, name = session_of(request), f"“{label.split(':')[0]}”"
                wave_T = (app.prompt if prompt else app.recording)(path, name, session)
                if prompt:
                    prepare_prompt(wave_T, app.sample_rate_hz)
        except SpeechkitError as error:
            gr.Warning(str(error), title="Sorry", duration=15)
            return None
        return gr.skip()

    for event in (box.upload, box.stop_recording):
        event(check, box, box, show_progress="hidden", **LIGHT)
    return box


def result_box(elem_id: str, label: str) -> "gr.Audio":
    """A player for a result; the page hides it while it is empty."""
    import gradio as gr

    return gr.Audio(
        label=label,
        format="wav",
        type="filepath",
        interactive=False,
        buttons=["download"],
        elem_id=elem_id,
        elem_classes="result",
    )


def report_line(elem_id: str) -> "gr.Markdown":
    """Where a job tells its progress, and then what came of it."""
    import gradio as gr

    # Not sanitised, which takes the value off <progress>: all text in it is `escaped`.
    return gr.Markdown(elem_id=elem_id, elem_classes="report", sanitize_html=False, min_height=40)


def picture_box(elem_id: str, label: str) -> "gr.Plot":
    """A picture; the page hides it while it is empty."""
    import gradio as gr

    return gr.Plot(label=label, elem_id=elem_id, elem_classes="result")


def unchecked(component: Any) -> Any:
    """Leave bounds and choices to our own checks: Gradio's print a traceback for each bad value."""
    component.preprocess = lambda payload: payload
    return component


def speed_slider(elem_id: str) -> Any:
    """Speaking rate."""
    import gradio as gr

    return unchecked(gr.Slider(0.25, 4, 1, step=0.05, label="Speed", elem_id=elem_id))


def steps_slider(elem_id: str) -> Any:
    """Sampling steps."""
    import gradio as gr

    label = "Steps (0 = default)"
    return unchecked(gr.Slider(0, 64, 0, step=1, label=label, elem_id=elem_id))


def seed_box(elem_id: str) -> Any:
    """The seed."""
    import gradio as gr

    return unchecked(
        gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, elem_id=elem_id)
    )


def go_and_cancel(label: str, elem_id: str, cancel_id: str) -> tuple["gr.Button", "gr.Button"]:
    """The button that starts a tab's job, by Ctrl+Enter too, and the one that ends it."""
    import gradio as gr

    with gr.Row(elem_classes="buttons"):
        go = gr.Button(
            label, variant="primary", elem_id=elem_id, elem_classes="go", scale=3, min_width=150
        )
        return go, gr.Button("Cancel", elem_id=cancel_id, scale=1, min_width=100)


def cancelling(app: AppState, button: "gr.Button", begun: list[Any], report: "gr.Markdown") -> None:
    """Let a button end jobs of its browser tab: a job stops at its next stage."""

    def cancelled() -> str:
        """Say so when it is so: until then the page takes no new job of the tab."""
        app.settle()
        return "Cancelled. Nothing of it was kept."

    quiet: dict[str, Any] = {"inputs": None, "outputs": report, "show_progress": "hidden", **LIGHT}
    asked = button.click(lambda: "Cancelling at the next stage …", cancels=begun, **quiet)
    asked.then(cancelled, **quiet)


def examples(
    app: AppState, rows: list[list[Any]], labels: list[str], boxes: list[Any], elem_id: str
) -> None:
    """Buttons that fill the boxes; nothing where no clips are bundled."""
    import gradio as gr

    if app.examples:
        gr.Examples(
            rows,
            boxes,
            cache_examples=False,
            label=EXAMPLES_LABEL,
            example_labels=labels,
            elem_id=elem_id,
            api_visibility="private",
            api_name=elem_id.replace("-", "_"),
        )


def example_voices(app: AppState, box: "gr.Audio", elem_id: str) -> None:
    """The bundled voices, each of which fills the box."""
    paths = [str(path) for path in app.examples]
    examples(app, [[path] for path in paths], [voice_name(path) for path in paths], [box], elem_id)


def opens_with(
    app: AppState,
    trigger: Callable[..., Any],
    make: Callable[[], Iterator[tuple[Any, ...]]],
    outputs: list[Any],
    report: "gr.Markdown",
) -> None:
    """Show a finished example where a tab has no result yet; it is made once, for everybody."""
    import gradio as gr

    name = str(outputs[0].elem_id)

    def show(result: Any) -> Iterator[Any]:
        """The finished example of a tab."""
        if result or not app.examples:
            yield [gr.skip()] * len(outputs) if len(outputs) > 1 else gr.skip()
            return
        with shown_errors():
            rows = iter([app.finished[name]]) if name in app.finished else make()
            for row in rows:
                yield row if len(outputs) > 1 else row[0]
            app.finished[name] = row

    how: dict[str, Any] = {**JOBS, "trigger_mode": None, "show_progress_on": report}
    trigger(show, outputs[0], outputs, api_visibility="private", **how)
