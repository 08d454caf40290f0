"""Options that several commands have. Imports no Keras."""

from __future__ import annotations

import argparse

PARTS = ("train", "validation", "test")


def add_import_option(sub: argparse.ArgumentParser) -> None:
    """Adds --import, which `take_imports` reads."""
    sub.add_argument(
        "--import",
        dest="modules",
        metavar="MODULE",
        action="append",
        help="import a module that registers models; may be given several times",
    )


def add_engine_options(sub: argparse._ActionsContainer, help: str) -> None:
    """Adds --engine, with the command's help text, and --address."""
    sub.add_argument("--engine", choices=["local", "ray"], default="local", help=help)
    sub.add_argument(
        "--address",
        help="with --engine ray: HOST:PORT of the cluster; default: that of "
        "RAY_ADDRESS, or on this machine",
    )
