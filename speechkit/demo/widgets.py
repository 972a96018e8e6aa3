"""Widgets that several tabs have."""

from typing import TYPE_CHECKING, Any

from speechkit.demo.limits import MAX_SEED
from speechkit.demo.studio import Studio, session_of

if TYPE_CHECKING:
    import gradio as gr

JOB: dict[str, Any] = {
    "concurrency_id": "jobs",
    "concurrency_limit": None,
    "trigger_mode": "once",
    "show_progress": "full",
}
"""How job events run: all go to the desk, which lets one at a time compute and turns many away."""

KEEP_SECONDS = 3.0
"""What the models look at: the generator sees no more than three seconds of a prompt."""


def prompt_box(elem_id: str, label: str) -> "gr.Audio":
    """A recording, by upload or microphone, as the path of a file."""
    import gradio as gr

    return gr.Audio(
        label=label,
        sources=["upload", "microphone"],
        type="filepath",
        elem_id=elem_id,
        buttons=["download"],
    )


def keep_slider(elem_id: str) -> "gr.Slider":
    """How much of a prompt is kept."""
    import gradio as gr

    return gr.Slider(
        1, 30, KEEP_SECONDS, step=0.5, label="Seconds kept of the prompt", elem_id=elem_id
    )


def speed_slider(elem_id: str) -> "gr.Slider":
    """Speaking rate."""
    import gradio as gr

    return gr.Slider(0.25, 4, 1, step=0.05, label="Speed", elem_id=elem_id)


def steps_slider(elem_id: str) -> "gr.Slider":
    """Sampling steps."""
    import gradio as gr

    return gr.Slider(0, 64, 0, step=1, label="Steps (0 = default)", elem_id=elem_id)


def seed_box(elem_id: str) -> "gr.Number":
    """The seed."""
    import gradio as gr

    return gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, elem_id=elem_id)


def cancel_button(elem_id: str) -> "gr.Button":
    """A button that ends the job of its tab."""
    import gradio as gr

    return gr.Button("Cancel", elem_id=elem_id)


def cancelling(
    studio: Studio, button: "gr.Button", begun: list[Any], api_name: str | None = None
) -> None:
    """Let a button end the jobs of its browser tab: in the page at once, here at the next stage."""
    import gradio as gr

    def cancel(request: gr.Request) -> None:
        """End the job of this client, and say so."""
        if studio.desk.cancel(session_of(request)):
            gr.Info("Cancelled. Nothing of it was kept.", duration=5)

    button.click(
        cancel,
        cancels=begun,
        # In the queue, without which Gradio shows no message, but behind nobody.
        concurrency_limit=None,
        api_name=api_name,
        api_visibility="public" if api_name else "private",
    )


def example_prompts(
    studio: Studio, boxes: list[Any], elem_id: str, label: str = "Example prompts"
) -> None:
    """The bundled clips, one of which fills the boxes when it is clicked; nothing without clips."""
    import gradio as gr

    if not studio.examples:
        return
    count = len(boxes)
    shifted = studio.examples[1:] + studio.examples[:1]
    rows = [[str(a), str(b)][:count] for a, b in zip(studio.examples, shifted, strict=True)]
    gr.Examples(
        rows,
        boxes,
        cache_examples=False,
        label=f"{label} (synthetic voices, nobody's)",
        example_labels=[" → ".join(_short(path) for path in row) for row in rows],
        elem_id=elem_id,
        api_visibility="private",
        api_name=elem_id.replace("-", "_"),
    )


def _short(path: str) -> str:
    """The name of a clip without what all names share."""
    return path.rsplit("/", 1)[-1].removeprefix("synthetic_").rsplit(".", 1)[0]
