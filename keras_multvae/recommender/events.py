"""Histories of many users, from files of events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_multvae.data import Interactions, Vocabulary, read_interactions
from keras_multvae.recommender import json_lines
from keras_multvae.recommender.histories import OnUnknown


def holds_events(path: Path) -> bool:
    """Whether it is a file, or a folder of files, rather than a folder of ours."""
    return path.is_file() or (path.is_dir() and not (path / "manifest.json").exists())


def of_events(source: Any, items: Vocabulary, on_unknown: OnUnknown) -> Interactions:
    """Histories from files of events with the columns `user_id` and `item_id`.

    In files of JSON lines, lists are histories too; see `json_lines`. Of a user
    without a known item nothing is known, but that there is one. `counts` says how many
    items of the files are unknown, and entries with them.
    """
    if Path(source).suffix in json_lines.SUFFIXES:
        return json_lines.interactions(Path(source), items, on_unknown)
    events = read_interactions(source, items=items)
    # Text takes the kind of the model's ids. Raises, if it is to.
    known = items.index(items.from_text(events.items.ids), on_unknown)
    found = events.with_items(items)
    counts = {
        "unknown_items": events.num_items - len(known),
        "entries_of_unknown_items": events.num_entries - found.num_entries,
    }
    return replace(found, counts=events.counts | counts)
