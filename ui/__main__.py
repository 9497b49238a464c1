"""python -m ui: the page on http://127.0.0.1:7860, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from duplex_local.config import DEFAULT_MODEL, EngineConfig, SessionConfig
from duplex_local.errors import ConfigError, DuplexError, ModelFileError, exit_with_one_line

if TYPE_CHECKING:
    from ui.tabs import Engine


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ui", description="The duplex-local page.")
    parser.add_argument("--model", type=Path, metavar="GGUF", help=f"default: {DEFAULT_MODEL}")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=7860, help="default: %(default)s")
    parser.add_argument("--slice-s", type=float, default=2.0, help="default: %(default)s")
    parser.add_argument("--n-ctx", type=int, default=2048, help="tokens of context a tab has")
    parser.add_argument("--tabs", type=int, default=4, help="tabs at once; each costs memory")
    parser.add_argument("--no-browser", action="store_true", help="open no browser window")
    return parser.parse_args(arguments)


def find_model(given: Path | None) -> Path:
    model = given or DEFAULT_MODEL
    if given is None and not model.is_file():
        raise ModelFileError(
            f"Model file not found: {model}. "
            "Run `make run` or `python -m convert models/demo --quant Q8_0`."
        )
    return model


def check_port(host: str, port: int) -> None:
    """Raise ConfigError when nothing can listen there."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"--port is {port}, but must be from 1 to 65535.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host}, port {port} ({error.strerror}). "
            "Choose another one with --port N."
        ) from None


def warn_if_open(host: str) -> None:
    from ui.guard import is_loopback

    if not is_loopback(host):
        print(
            f"warning: anyone who can reach {host} can read and use this page; "
            "without --host only this machine can.",
            file=sys.stderr,
        )


@exit_with_one_line
def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    config = SessionConfig(slice_s=options.slice_s)
    check_port(options.host, options.port)
    model = find_model(options.model)
    warn_if_open(options.host)
    from duplex_local.engine import Engine

    with Engine(EngineConfig(model=model, n_ctx=options.n_ctx, n_sessions=options.tabs)) as engine:
        serve(engine, config, options)
    return 0


def serve(engine: Engine, config: SessionConfig, options: argparse.Namespace) -> None:
    """Show the page until Ctrl-C."""
    from ui.app import build, launch_options

    # Gradio asks its own server whether it is up, through a proxy if one is set.
    for name in ("NO_PROXY", "no_proxy"):
        known = os.environ.get(name, "")
        os.environ[name] = ",".join(filter(None, [known, "127.0.0.1,localhost", options.host]))
    page = build(engine, config)
    try:
        _, url, _ = page.launch(**launch_options(options.host, options.port))
    except OSError as error:
        raise DuplexError(f"The page did not start: {error}. Try --port N.") from None
    print(f"duplex-local is ready: {url}  (Ctrl-C ends it)", flush=True)
    if not options.no_browser:
        webbrowser.open(url)
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)


if __name__ == "__main__":
    sys.exit(main())
