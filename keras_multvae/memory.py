"""What memory there is, and the error before what would not fit."""

from __future__ import annotations

from pathlib import Path

# Where the system tells how much memory is available.
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
# So much is not asked after, as asking takes time, too.
LITTLE = 1 << 28


def available_memory() -> int | None:
    """The bytes that can be allocated without swapping; None if nobody tells."""
    known = [int(line.split()[1]) << 10 for line in _lines(MEMINFO, "MemAvailable:")]
    # A container may have less than the machine.
    limit, used = _lines(CGROUP / "memory.max"), _lines(CGROUP / "memory.current")
    if limit and used and limit[0] != "max":
        # Of what it uses, it can do without the pages of files.
        files = _lines(CGROUP / "memory.stat", "inactive_file ")
        files += _lines(CGROUP / "memory.stat", "active_file ")
        kept = int(used[0]) - sum(int(line.split()[1]) for line in files)
        known.append(max(int(limit[0]) - kept, 0))
    return min(known, default=None)


def require_memory(size: int, what: str, instead: str) -> None:
    """Raises before memory is taken that is not there.

    The system would end the process without a word, hours later at times.

    Args:
        size: Int, bytes.
        what: What takes them, in the plural, as in "The weights of 1,000 items".
        instead: What to do, a sentence.

    Raises:
        MemoryError: Less is available, as far as the system tells.

    Example:

    >>> require_memory(1000, "A thousand bytes", "Take fewer.")
    >>> require_memory(1 << 60, "The rows", "Take fewer items.")
    Traceback (most recent call last):
    MemoryError: The rows take 1,073,741,824.0 GiB of memory, and ... GiB are free...
    """
    free = None if size < LITTLE else available_memory()
    if free is not None and size > free:
        need, have = (f"{each / 2**30:,.1f} GiB" for each in (size, free))
        raise MemoryError(
            f"{what} take {need} of memory, and {have} are free. {instead}"
        )


def require_scores(users: int, items: int) -> None:
    """Raises `MemoryError` where the scores of so many users do not fit."""
    require_memory(
        4 * users * items,
        f"The scores of {users:,} users for {items:,} items",
        "Score fewer users at a time; Recommender.recommend and evaluate_ranking rank "
        "any number of users, batch by batch.",
    )


def _lines(path: Path, start: str = "") -> list[str]:
    """The lines of a file that begin with `start`; [] if there is no such file."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    return [line for line in lines if line.startswith(start)]
