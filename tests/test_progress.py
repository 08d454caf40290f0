"""How far something is: a bar on terminals, lines elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from keras_multvae import progress
from keras_multvae.progress import counting

pytestmark = pytest.mark.once


@pytest.fixture
def clock(monkeypatch):
    """The time, which only the test moves."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def test_a_line_now_and_then_where_there_is_no_terminal(capsys, clock):
    with counting("recommending", 10_000, completed=2_000) as advance:
        for _ in range(8):
            clock.now += 4
            advance(1_000)
    assert capsys.readouterr().err.splitlines() == [
        # 3,000 in 12 seconds leave 5,000 for 20.
        "recommending: 5,000/10,000 users, 250 users/s, 0:00:20 left",
        "recommending: 8,000/10,000 users, 250 users/s, 0:00:08 left",
        "recommending: 10,000/10,000 users, 250 users/s",
    ]


def test_nothing_is_said_of_what_failed_or_is_not_to_be_shown(capsys, clock):
    with counting("reading", 10, shown=False) as advance:
        advance(10)
    with pytest.raises(KeyError), counting("reading", 10):
        raise KeyError
    assert capsys.readouterr().err == ""
    with counting("reading", 0):
        pass
    assert capsys.readouterr().err == "reading: 0/0 users\n"


def test_a_bar_on_a_terminal(monkeypatch):
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "console", terminal)
    with counting("recommending", 60) as advance:
        for _ in range(6):
            advance(10)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue())
    assert re.search(r"recommending .*60/60 [\d,]+ users/s 0:00:00", text)
