"""The tab Codec: a recording as six streams of codes, and without one of them."""

from typing import Any

import torch

from speechkit.core.errors import ConfigError
from speechkit.demo import jobs, plots
from speechkit.demo.studio import Studio, escaped, playable, session_of, shown_errors
from speechkit.demo.widgets import JOB, cancel_button, cancelling, example_prompts, prompt_box
from speechkit.facodec.quantizer import code_usage

CAPTION = """
One strip for each code stream, one column for each frame. A colour stands for a place among the
vectors of the stream's code book (its first three principal components as red, green and blue), so
codes that mean nearly the same look nearly the same.
"""

DROP_HELP = """
Listen with one stream left out: its vectors are missing from the sum that the decoder reads.
Without prosody there is no melody, no voicing and no loudness to read; without content, no words.
"""


def add_codec(studio: Studio) -> None:
    """Lay out the tab and wire it up."""
    import gradio as gr

    names = jobs.stream_names(studio.models.codec)
    with gr.Tab("Codec", elem_id="tab-codec"):
        with gr.Row():
            with gr.Column():
                recording = prompt_box(
                    "codec-recording",
                    f"Recording, up to {studio.limits.max_recording_seconds:g} s",
                )
                example_prompts(studio, [recording], "codec-examples")
                with gr.Row():
                    go = gr.Button("Encode and decode", variant="primary", elem_id="codec-go")
                    stop = cancel_button("codec-cancel")
            with gr.Column():
                result = gr.Audio(
                    label="Decoded", format="wav", buttons=["download"], elem_id="codec-result"
                )
                report = gr.Markdown(label="Report", elem_id="codec-report")
        picture = gr.Plot(label="Code streams", elem_id="codec-picture")
        gr.Markdown(CAPTION + DROP_HELP)
        with gr.Row():
            with gr.Column():
                stream = gr.Radio(
                    list(names), value=names[0], label="Leave out", elem_id="codec-stream"
                )
                without = gr.Button("Decode without it", elem_id="codec-drop")
            with gr.Column():
                dropped = gr.Audio(
                    label="Without it", format="wav", buttons=["download"], elem_id="codec-dropped"
                )
                drop_report = gr.Markdown(label="Report", elem_id="codec-drop-report")
    parts = _handlers(studio)
    begun: list[Any] = [
        go.click(parts["codec"], recording, [result, report, picture], api_name="codec", **JOB),
        without.click(
            parts["drop"], [recording, stream], [dropped, drop_report], api_name="drop", **JOB
        ),
    ]
    cancelling(studio, stop, begun)


def _handlers(studio: Studio) -> dict[str, Any]:
    """The functions behind the widgets."""
    import gradio as gr

    def codec(
        recording: str | None,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio finds it by this default
    ) -> tuple[Any, str, Any]:
        """A recording through the codec and back."""
        with shown_errors():
            session = session_of(request)
            wave_T = studio.recording(recording, "The recording", session)
            with studio.turn(session, progress) as report:
                made = jobs.code(studio.models, wave_T, report=report)
            return _view(studio, made)

    def drop(
        recording: str | None,
        stream: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio finds it by this default
    ) -> tuple[Any, str]:
        """A recording through the codec and back with one code stream left out."""
        with shown_errors():
            names = jobs.stream_names(studio.models.codec)
            if stream not in names:
                raise ConfigError(f"There is no such stream: choose one of {', '.join(names)}.")
            session = session_of(request)
            wave_T = studio.recording(recording, "The recording", session)
            with studio.turn(session, progress) as report:
                out_T = jobs.drop(studio.models, wave_T, names.index(stream), report=report)
            return playable(out_T, studio.sample_rate_hz), f"Decoded without **{stream}**."

    return {"codec": codec, "drop": drop}


def _view(studio: Studio, made: jobs.Coded) -> tuple[Any, str, Any]:
    """A result as the page shows it."""
    codec = studio.models.codec
    books = codec.quantizer
    seconds = len(made.source_T) / codec.sample_rate_hz
    names = jobs.stream_names(codec)
    codes_KF = made.codes.stacked()
    rows = "".join(
        f"\n| {name} | {len(codes_F.unique())} | {used['perplexity']:.0f} |"
        for name, codes_F, used in zip(
            names, codes_KF, code_usage(codes_KF, books.entries), strict=True
        )
    )
    report = (
        f"**{made.bits_per_second / 1000:.2f} kb/s**: {books.books} streams of "
        f"{made.codes.frames} codes, {codec.sample_rate_hz / codec.hop_samples:g} a second, out of "
        f"{books.entries} each; and {made.timbre_bits} bits of timbre a recording, which makes "
        f"{made.bits_per_second / 1000 + made.timbre_bits / 1000 / seconds:.2f} kb/s in all. "
        f"{seconds:.2f} s there and back in {made.took_seconds:.2f} s. "
        f"Weights: {escaped(studio.models.tts.weights)}\n\n"
        f"| stream | different codes | perplexity |\n| --- | --- | --- |{rows}"
    )
    parts = (codec.prosody_books, codec.content_books, codec.detail_books)
    vectors = [
        torch.nn.functional.normalize(level.book_VC.detach(), dim=-1).numpy()
        for part in parts
        for level in part.quantizers()
    ]
    figure = plots.codes_figure(plots.code_colours(vectors, codes_KF.numpy()), names, seconds)
    return playable(made.wave_T, codec.sample_rate_hz), report, figure
