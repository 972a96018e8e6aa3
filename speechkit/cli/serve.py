"""The verb `serve`: speech over HTTP."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from speechkit.cli import arguments
from speechkit.core.errors import ConfigError

API_KEY = "SPEECHKIT_API_KEY"


def add_verbs(verbs: arguments.Verbs[arguments.Parser]) -> None:
    """Add the verb."""
    serve = verbs.add_parser(
        "serve",
        help="answer OpenAI's speech API over HTTP",
        description="Serve POST /v1/audio/speech and /v1/audio/voices, by default to this machine "
        f"alone. With {API_KEY} in the environment, clients must send it as a bearer token.",
    )
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to bind; 0.0.0.0 lets the network in (default 127.0.0.1)",
    )
    serve.add_argument(
        "--port",
        type=arguments.whole_number(0, 65535),
        default=8000,
        help="port; 0 takes a free one (default 8000)",
    )
    serve.add_argument(
        "--voices",
        type=Path,
        metavar="FOLDER",
        help="saved voices (.safetensors) to offer; uploaded ones are kept there too",
    )
    serve.add_argument(
        "--cors-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="web pages that may call the server, such as https://example.org; repeat it",
    )
    serve.add_argument(
        "--max-text",
        type=arguments.whole_number(1, 20_000),
        default=4096,
        metavar="CHARACTERS",
        help="longest text (default 4096)",
    )
    serve.add_argument(
        "--max-waiting",
        type=arguments.whole_number(1, 1000),
        default=16,
        metavar="REQUESTS",
        help="requests that may wait; further ones get 503 (default 16)",
    )
    serve.add_argument(
        "--grace",
        type=arguments.number(0, 3600),
        default=20.0,
        metavar="SECONDS",
        help="time that answers have to finish when it ends (default 20)",
    )
    arguments.add_model(serve)
    arguments.add_device(serve, generator=True)
    arguments.add_threads(serve)
    serve.set_defaults(handler=run)


def run(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    key = os.environ.get(API_KEY, "")
    if key and not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{API_KEY} holds characters that no header can carry: use ASCII.")
    from speechkit.server.config import ServerConfig
    from speechkit.server.serve import serve

    arguments.use_threads(args.threads)
    serve(
        ServerConfig(
            host=args.host,
            port=args.port,
            model=args.model,
            device=args.device,
            dtype=args.dtype,
            voices=args.voices,
            api_key=key,
            cors_origins=tuple(args.cors_origin),
            max_text_characters=args.max_text,
            max_json_bytes=max(64 << 10, 12 * args.max_text + 4096),
            max_waiting=args.max_waiting,
            grace_seconds=args.grace,
        )
    )
