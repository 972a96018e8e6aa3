"""The tabs that take recordings and nothing else: Convert, Codec, Detect."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from speechkit.conversion import DETAIL, MAX_SEMITONES
from speechkit.core.audio import read_audio, write_audio
from speechkit.core.errors import ConfigError
from speechkit.demo import jobs, plots
from speechkit.demo import widgets as ui
from speechkit.demo.limits import checked_number, checked_seed
from speechkit.demo.state import (
    AppState,
    escaped,
    folded,
    note_lines,
    playable,
    session_of,
    shown_errors,
)
from speechkit.facodec.codec import FACTORS
from speechkit.facodec.quantizer import code_usage
from speechkit.watermark import DEFAULT_PAYLOAD, Detection, detect, embed
from speechkit.watermark.detection import MAX_P_VALUE

TARGET_SECONDS = 30.0
"""What is kept of the target: its timbre is a mean, which gets better with length."""

CODEC_HELP = """
A recording as six streams of codes and one timbre vector, and back. Then listen with one stream
left out: without prosody there is no F0 contour, voicing or loudness, without content no words.
"""

CODEC_CAPTION = """
One strip for each code stream, one column for each frame. A colour stands for a place among the
vectors of the stream's codebook (its first three principal components as red, green and blue), so
codes that mean nearly the same look nearly the same.
"""

DETECT_HELP = """
Is a recording watermarked as synthetic speech? The watermark survives ordinary handling, codecs for
instance. It names the tool and proves little: whoever wants to can remove it, and other makers'
speech has none.
"""


def add_convert(app: AppState) -> ui.Tab:
    """Lay out the tab Convert and wire it up."""
    import gradio as gr

    clips = app.examples
    pairs = list(zip(clips, clips[1:] + clips[:1], strict=True))
    first = pairs[0] if pairs else (None, None)
    with gr.Tab("Convert", id="convert", elem_id="tab-convert") as tab:
        gr.Markdown(
            "What a recording says, as it says it, in another voice: its codes, that timbre."
        )
        with gr.Row():
            with gr.Column():
                with gr.Row():
                    label = f"Recording, up to {app.limits.max_recording_seconds:g} s"
                    source = ui.audio_box(app, "convert-source", label, first[0])
                    label = "Voice to convert to"
                    target = ui.audio_box(app, "convert-target", label, first[1], prompt=True)
                names = [" → ".join(ui.voice_name(p).split(",")[0] for p in pair) for pair in pairs]
                rows = [[str(path) for path in pair] for pair in pairs]
                ui.examples(app, rows, names, [source, target], "convert-examples")
                with gr.Accordion("Settings", open=False, elem_id="convert-settings"):
                    pitch = ui.unchecked(
                        gr.Slider(
                            *(-MAX_SEMITONES, MAX_SEMITONES, 0),
                            step=0.5,
                            label="Pitch shift from the voice's own pitch, in semitones",
                            elem_id="convert-pitch",
                        )
                    )
                    detail = gr.Checkbox(
                        DETAIL,
                        label="Keep the recording's detail codes: clearer words, less similarity",
                        elem_id="convert-detail",
                    )
                    seed = ui.seed_box("convert-seed")
                go, stop = ui.go_and_cancel("Convert", "convert-go", "convert-cancel")
            with gr.Column(elem_classes="results"):
                result = ui.result_box("convert-result", "Converted")
                sends = ui.send_row("convert-result")
                report = ui.report_line("convert-report")
                picture = ui.picture_box("convert-picture", "Pitch and spectrograms")

    def convert(
        source: str | None,
        target: str | None,
        pitch: float,
        detail: bool,
        seed: float,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """The source in the voice of the target, its pitch shifted by semitones."""
        with shown_errors():
            limit, session = MAX_SEMITONES, session_of(request)
            work = partial(
                jobs.convert,
                app.models,
                keep_seconds=TARGET_SECONDS,
                pitch_shift_semitones=checked_number(pitch, -limit, limit, "The pitch shift"),
                detail=bool(detail),
                seed=checked_seed(seed),
                source_T=app.recording(source, "The recording", session),
                target_T=app.prompt(target, "The voice", session),
            )
            view = partial(_converted, app)
            yield from app.staged(lambda report: work(report=report), view, 3, 1)

    outputs = [result, report, picture]
    inputs = [source, target, pitch, detail, seed]
    job = go.click(convert, inputs, outputs, show_progress_on=report, api_name="convert", **ui.JOBS)
    ui.cancelling(app, stop, [job], report)
    example = partial(_example, convert, (source, target), (0, DETAIL, 0))
    ui.opens_with(app, tab.select, example, outputs, report)
    return ui.Tab(box=source, result=result, sends=sends)


def _example(
    handler: Any, boxes: tuple[Any, ...], settings: tuple[Any, ...]
) -> Iterator[tuple[Any, ...]]:
    """A handler's result for what its boxes open with."""
    import gradio as gr

    rows: Iterator[Any] = handler(
        *(box.value["path"] for box in boxes), *settings, gr.Request(session_hash="")
    )
    return rows


def _converted(app: AppState, made: jobs.Converted) -> tuple[Any, ...]:
    """A converted recording as the page shows it."""
    result = made.made
    report = (
        f"**{result.seconds:.2f} s** in **{made.took_seconds:.2f} s**: real-time factor "
        f"**{made.took_seconds / result.seconds:.2f}** · seed **{result.seed}** · of the voice, "
        f"{escaped(made.trimmed.parts)} were used.{note_lines(result.notes)}\n\n"
        + folded(f"Weights: {escaped(app.models.converter.weights)}.")
    )
    waves = (made.source_T, result.wave_T)
    figure = plots.pair_figure(*waves, result.sample_rate_hz, ("recording", "converted"))
    return playable(result.wave_T, result.sample_rate_hz), report, figure


def add_codec(app: AppState) -> ui.Tab:
    """Lay out the tab Codec and wire it up."""
    import gradio as gr

    with gr.Tab("Codec", id="codec", elem_id="tab-codec") as tab:
        gr.Markdown(CODEC_HELP)
        with gr.Row():
            with gr.Column():
                label = f"Recording, up to {app.limits.max_recording_seconds:g} s"
                first = app.examples[0] if app.examples else None
                recording = ui.audio_box(app, "codec-recording", label, first)
                ui.example_voices(app, recording, "codec-examples")
                go, stop = ui.go_and_cancel("Encode and decode", "codec-go", "codec-cancel")
                stream = ui.unchecked(
                    gr.Radio(
                        list(FACTORS), value=FACTORS[0], label="Leave out", elem_id="codec-stream"
                    )
                )
                without = gr.Button("Decode without it", elem_id="codec-drop")
                drop_report = ui.report_line("codec-drop-report")
            with gr.Column(elem_classes="results"):
                result = ui.result_box("codec-result", "Decoded")
                dropped = ui.result_box("codec-dropped", "Decoded without a stream")
                report = ui.report_line("codec-report")
                picture = ui.picture_box("codec-picture", "Code streams")

    def codec(recording: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """A recording through the codec and back."""
        with shown_errors():
            wave_T = app.recording(recording, "The recording", session_of(request))
            work = partial(jobs.code, app.models, wave_T)
            view = partial(_coded, app)
            yield from app.staged(lambda report: work(report=report), view, 3, 1)

    def drop(recording: str | None, stream: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """A recording through the codec and back with one code stream left out."""
        with shown_errors():
            if stream not in FACTORS:
                raise ConfigError(f"There is no such stream: choose one of {', '.join(FACTORS)}.")
            wave_T = app.recording(recording, "The recording", session_of(request))
            work = partial(jobs.drop, app.models, wave_T, stream)

            def view(out_T: torch.Tensor) -> tuple[Any, ...]:
                return playable(out_T, app.sample_rate_hz), f"Decoded without **{stream}**."

            yield from app.staged(lambda report: work(report=report), view, 2, 1)

    outputs = [result, report, picture]
    begun = [
        go.click(codec, recording, outputs, show_progress_on=report, api_name="codec", **ui.JOBS),
        without.click(
            drop,
            [recording, stream],
            [dropped, drop_report],
            show_progress_on=drop_report,
            api_name="drop",
            **ui.JOBS,
        ),
    ]
    ui.cancelling(app, stop, begun, report)
    ui.opens_with(app, tab.select, partial(_example, codec, (recording,), ()), outputs, report)
    return ui.Tab(box=recording)


def _coded(app: AppState, made: jobs.Coded) -> tuple[Any, ...]:
    """A recording and its codes as the page shows them."""
    codec = app.models.codec
    quantizer = codec.quantizer
    seconds = len(made.source_T) / codec.sample_rate_hz
    names = jobs.stream_names(codec)
    codes_KF = made.codes.stacked()
    usage = code_usage(codes_KF, quantizer.codebook_size)
    rows = "".join(
        f"\n| {name} | {len(codes_F.unique())} | {used['perplexity']:.0f} |"
        for name, codes_F, used in zip(names, codes_KF, usage, strict=True)
    )
    report = (
        f"**{made.bits_per_second / 1000:.2f} kb/s**: {quantizer.codebooks} streams of "
        f"{made.codes.frames} codes, {codec.sample_rate_hz / codec.hop_samples:g} a second, out of "
        f"{quantizer.codebook_size} each; and {made.timbre_bits} bits of timbre a recording, which "
        f"makes {made.bits_per_second / 1000 + made.timbre_bits / 1000 / seconds:.2f} kb/s in all. "
        f"{seconds:.2f} s there and back in {made.took_seconds:.2f} s.\n\n"
        + folded(
            f"Weights: {escaped(app.models.tts.weights)}.\n\n"
            f"| stream | different codes | perplexity |\n| --- | --- | --- |{rows}\n\n"
            f"{CODEC_CAPTION}"
        )
    )
    vectors = [
        torch.nn.functional.normalize(entries_VC, dim=-1).numpy()
        for entries_VC in codec.code_vectors()
    ]
    figure = plots.codes_figure(plots.code_colours(vectors, codes_KF.numpy()), names, seconds)
    return playable(made.wave_T, codec.sample_rate_hz), report, figure


def add_detect(app: AppState) -> ui.Tab:
    """Lay out the tab Detect and wire it up."""
    import gradio as gr

    clip = app.examples[0] if app.examples else None
    watermarked = _watermarked(app, clip) if clip else None
    with gr.Tab("Detect", id="detect", elem_id="tab-detect") as tab:
        gr.Markdown(DETECT_HELP)
        with gr.Row():
            with gr.Column():
                label = f"Recording, up to {app.limits.max_recording_seconds:g} s"
                recording = ui.audio_box(app, "detect-recording", label, watermarked)
                names = [
                    f"{ui.voice_name(clip or '')}, {kind}"
                    for kind in ("watermarked", "not watermarked")
                ]
                rows = [[str(watermarked)], [str(clip)]]
                ui.examples(app, rows, names, [recording], "detect-examples")
                go, stop = ui.go_and_cancel("Look for the watermark", "detect-go", "detect-cancel")
            with gr.Column(elem_classes="results"):
                report = ui.report_line("detect-report")

    def look(recording: str | None, request: gr.Request) -> Iterator[str]:
        """Whether a recording is watermarked, and how sure that is."""
        with shown_errors():
            wave_T = app.recording(recording, "The recording", session_of(request))

            def work(tell: jobs.Report) -> Detection:
                tell(0.1, "looking for the watermark")
                return detect(wave_T, app.sample_rate_hz)

            for (line,) in app.staged(work, lambda found: (detection_lines(found),), 1, 0):
                yield line

    job = go.click(look, recording, report, show_progress_on=report, api_name="detect", **ui.JOBS)
    ui.cancelling(app, stop, [job], report)

    def example() -> Iterator[tuple[Any, ...]]:
        return ((line,) for line in _example(look, (recording,), ()))

    ui.opens_with(app, tab.select, example, [report], report)
    return ui.Tab(box=recording)


def _watermarked(app: AppState, clip: Path) -> Path:
    """A bundled clip with the watermark in it, among the uploads."""
    path = app.uploads / f"marked_{clip.stem}.wav"
    write_audio(path, embed(read_audio(clip, 16_000), 16_000), 16_000)
    app.shared |= {path.name, str(path.resolve())}
    return path


def detection_lines(found: Detection) -> str:
    """A detection in words."""
    if found.note:
        return f"**Nothing can be said**: the recording is {escaped(found.note)}."
    chance = f"{max(found.p_value, 1e-99):.1g}"
    if not found.present:
        return (
            "**No watermark found.** An unwatermarked recording looks at least this much like a "
            f"watermarked one with a chance of {chance}; a watermark counts as found below "
            f"{MAX_P_VALUE:g}."
        )
    maker = "speechkit" if found.payload == DEFAULT_PAYLOAD else "not the one speechkit writes"
    sure = f"{100 * (1 - found.p_value):.4f} %" if found.p_value >= 1e-6 else "over 99.9999 %"
    return (
        f"**Watermarked: synthetic speech.** The chance that an unwatermarked recording looks like "
        f"this is at most {chance}, so the confidence is {sure}. "
        f"Payload {found.payload:#06x} ({maker}); found in about {found.watermarked_seconds:.1f} s "
        f"of {found.seconds:.1f} s."
    )
