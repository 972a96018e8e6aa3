"""Starting the demo: a folder of its own for all files, the models, the server, and the end."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.core.errors import ConfigError
from speechkit.demo.limits import Limits
from speechkit.voices import bundled_voices

if TYPE_CHECKING:
    import gradio as gr

    from speechkit.demo.jobs import Models


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Where and how the demo is served."""

    host: str = "127.0.0.1"
    """Address to bind; the default is reached from this machine alone."""

    port: int | None = None
    """Port; None takes the first free one from 7860."""

    share: bool = False
    """Whether Gradio opens a public tunnel."""

    model: Path | None = None
    """Folder with codec/ and generator/; None takes the bundled weights."""

    device: str = "cpu"
    """Where the models compute: auto, cpu, cuda, mps."""

    dtype: str = "auto"
    """What the generator computes in: auto, float32, bfloat16, float16."""

    limits: Limits = field(default_factory=Limits)
    """What is accepted."""


def example_clips() -> tuple[Path, ...]:
    """The recordings of the bundled voices, the default first."""
    return tuple(voice.path for voice in bundled_voices())


def prepare(folder: Path) -> None:
    """Make Gradio keep its files in `folder` and stay offline; before it is first imported."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"


def make_page(models: Models, limits: Limits, folder: Path) -> gr.Blocks:
    """The page over loaded models, with its files in `folder`."""
    from speechkit.demo.page import build
    from speechkit.demo.state import AppState

    prepare(folder)
    app = AppState(models=models, limits=limits, uploads=folder, examples=example_clips())
    # Without api_open the REST routes cannot pass by the queue.
    page: gr.Blocks = build(app).queue(max_size=limits.max_waiting, api_open=False)
    return page


def launch(page: gr.Blocks, options: ServeOptions) -> str:
    """Serve the page and return its address at once; raises ConfigError for a port in use."""
    from speechkit.demo.page import look

    # Of its own making: what it calls of pandas and Starlette is deprecated there.
    warnings.filterwarnings("ignore", module=r"gradio\.")
    try:
        _, address, shared = page.launch(
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            allowed_paths=[str(path) for path in example_clips()],
            max_file_size=int(options.limits.max_file_mb * 1024**2),
            prevent_thread_lock=True,
            # Gradio's look at its own page gives up after 3 s on a busy machine, or at a proxy.
            _frontend=False,
            # What is shown is gr.Error, always; other messages may name paths.
            show_error=False,
            ssr_mode=False,
            quiet=True,
            footer_links=["api", "settings"],
            **look(),
        )
    except OSError as error:
        where = f"{options.host}:{options.port or '7860 to 7959'}"
        raise ConfigError(
            f"The demo cannot listen on {where}: give another --port or --host."
        ) from error
    return shared or address


def serve(options: ServeOptions) -> None:
    """Run the demo until Ctrl-C or SIGTERM; leaves no file behind.

    Raises CheckpointError for a folder without models, ConfigError for an address in use.
    """
    from speechkit.demo.jobs import load_models

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with tempfile.TemporaryDirectory(prefix="speechkit-demo-", ignore_cleanup_errors=True) as name:
        models = load_models(options.model, device=options.device, dtype=options.dtype)
        page = make_page(models, options.limits, Path(name).resolve())
        address = launch(page, options)
        print(f"speechkit demo: {address} (Ctrl-C ends it)", file=sys.stderr, flush=True)
        ended.wait()
        page.close(verbose=False)
