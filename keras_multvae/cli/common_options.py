"""Options that several commands have. No Keras here."""

from __future__ import annotations

import argparse

PARTS = ("train", "validation", "test")


def add_import_option(sub: argparse.ArgumentParser) -> None:
    """--import, which `take_imports` looks for."""
    sub.add_argument(
        "--import",
        dest="modules",
        metavar="MODULE",
        action="append",
        help="import a module that registers models; may be given several times",
    )


def add_engine_options(sub: argparse._ActionsContainer, help: str) -> None:
    """--engine, with the command's own words for it, and --address."""
    sub.add_argument("--engine", choices=["local", "ray"], default="local", help=help)
    sub.add_argument(
        "--address",
        help="with --engine ray: HOST:PORT of the cluster; default: that of "
        "RAY_ADDRESS, or on this machine",
    )
