"""A folder in which the commands of a page are run as they stand, without a shell."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
from documents.pages import ROOT

from keras_multvae.cli import main
from keras_multvae.training.recipe import Recipe

RNG = np.random.default_rng(0)
# Films that the pages name, and some more.
FILMS = [1, 364, 588, 595, 260, *range(2, 42)]
USERS = 260
PORT = "8501"
# How much is learnt is no part of what the pages say of their commands.
EPOCHS = 2


def cut(sizes):
    """`Recipe.sizes` for trainings that are over soon."""

    def few(self, num_users):
        batch_size, epochs = sizes(self, num_users)
        return batch_size, min(epochs, EPOCHS)

    return few


PROGRAM = """
import sys
sys.argv[0] = "keras-multvae"
from documents.scene import cut
from keras_multvae.cli import main
from keras_multvae.training.recipe import Recipe
Recipe.sizes = cut(Recipe.sizes)
sys.exit(main())
"""


def write_films(folder: Path) -> None:
    """MovieLens' files, made up."""
    with (folder / "ratings.csv").open("w") as file:
        file.write("userId,movieId,rating,timestamp\n")
        for user in range(USERS):
            liked = RNG.random(len(FILMS)) < np.where(
                np.arange(45) % 2 == user % 2, 0.6, 0.1
            )
            for item in np.flatnonzero(liked):
                time = 10**9 + (7 * user + 13 * item) % 1000
                file.write(f"{user},{FILMS[item]},{RNG.integers(4, 6)},{time}\n")
    header = "movieId,title,genres"
    titles = [
        f'{film},"Film, the {film}th (1999)",{("Drama", "Comedy")[place % 2]}|Any'
        for place, film in enumerate(FILMS)
    ]
    (folder / "movies.csv").write_text("\n".join([header, *titles]))
    new = ["9001,New drama (2026),Drama", "9002,New comedy (2026),Comedy|Any"]
    (folder / "new_movies.csv").write_text("\n".join([header, *new]))


class Scene:
    """A folder, and a server once one is asked.

    Attributes:
        short: Whether trainings are over soon.
        folder: Where commands run.
        said: Standard output and error of the last command of ours.
        done: What was run before a page was, and its output: once is enough.
    """

    def __init__(self, folder: Path, *, short: bool = True) -> None:
        self.folder, self.said, self.short = folder, ("", ""), short
        self.done: dict[str, str] = {}
        self._server = None

    def run(self, text: str, monkeypatch) -> str:
        """Runs a command; gives its standard output.

        Knows `echo ... |` and settings of variables before it. What writes a folder
        that a page has written before is another way to do the same: it may.
        """
        if text in self.done:
            return self.done.pop(text)
        lexer = shlex.shlex(text, posix=True, punctuation_chars="|")
        lexer.whitespace_split = True
        words, given = list(lexer), ""
        if "|" in words:
            before, words = words[: words.index("|")], words[words.index("|") + 1 :]
            assert before[0] == "echo", text
            given = " ".join(before[1:]) + "\n"
        more = {}
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, _, value = words.pop(0).partition("=")
            more[name] = value
        if words[0] == "curl":
            return self.ask(words)
        if words[0] == "python":
            return self.started([sys.executable, *words[1:]], more)
        assert words[0] == "keras-multvae", text
        arguments = words[1:]
        if arguments[0] == "serve":
            return self.serve(arguments)
        makes = ("prepare", "train", "tune", "compare")
        if self.short and arguments[0] in makes and "--out" in arguments:
            out = self.folder / arguments[arguments.index("--out") + 1]
            shutil.rmtree(out, ignore_errors=True)
        if more or "--import" in arguments:
            return self.started([sys.executable, "-c", PROGRAM, *arguments], more)
        return self.here(arguments, given, monkeypatch)

    def here(self, arguments, given, monkeypatch) -> str:
        """Runs it in this process."""
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "stdin", io.StringIO(given))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            if self.short:
                patch.setattr(Recipe, "sizes", cut(Recipe.sizes))
            status = main(arguments)
        self.said = out.getvalue(), err.getvalue()
        assert status == 0, self.said[1]
        return self.said[0]

    def started(self, words, more) -> str:
        """Runs it in a process of its own: another backend, or another's models."""
        found = subprocess.run(
            words,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests", **more},
            capture_output=True,
            text=True,
            check=False,
        )
        self.said = found.stdout, found.stderr
        assert found.returncode == 0, found.stderr
        return found.stdout

    def serve(self, arguments) -> str:
        """Starts the server, at a port that is free; one is enough."""
        if self._server is None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = str(free.getsockname()[1])
            self.errors = (self.folder / "serve.stderr").open("w+")
            at = [each for each in arguments if each not in ("--port", PORT)]
            self._server = subprocess.Popen(
                [sys.executable, "-m", "keras_multvae", *at, "--port", self.port],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.DEVNULL,
                stderr=self.errors,
            )
        name = Path(arguments[1]).name
        for _ in range(600):
            assert self._server.poll() is None, self.served()
            try:
                url = f"http://127.0.0.1:{self.port}/v1/models/{name}"
                with urllib.request.urlopen(url, timeout=5) as answer:
                    if b"AVAILABLE" in (said := answer.read()):
                        return said.decode()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(0.1)
        raise AssertionError(self.served())

    def served(self) -> str:
        """What the server said on standard error."""
        self.errors.seek(0)
        return self.errors.read()

    def ask(self, words) -> str:
        """`curl -d BODY URL`, of the server that is there."""
        body = words[words.index("-d") + 1]
        (url,) = (word for word in words if word.startswith("http://"))
        name = re.search("/models/([^/:]+)", url)[1]
        self.serve(["serve", f"saved_models/{name}"])
        url = url.replace(f"localhost:{PORT}", f"127.0.0.1:{self.port}")
        request = urllib.request.Request(url, body.encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def close(self) -> None:
        """Ends the server."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(30)
            self.errors.close()
