"""What a command line that is called in this process says."""

from __future__ import annotations

import json

from keras_multvae.cli import main


def answer(capsys, *arguments):
    """The JSON objects on standard output; nothing else may be there."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def failure(capsys, *arguments):
    """The one line on standard error of a command that fails."""
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = (line for line in err.splitlines() if "error:" in line)
    assert "Traceback" not in err
    return line
