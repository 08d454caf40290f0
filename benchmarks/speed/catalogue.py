"""The systems by their names on the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed.environments import CORNAC, RECBOLE, Environment
from benchmarks.speed.processes import System

SYSTEMS = "benchmarks.speed.systems"


@dataclass(frozen=True)
class Entry:
    """A system before it is known what it works on."""

    name: str
    target: str
    options: dict[str, Any] = field(default_factory=dict)
    backend: str | None = None
    environment: Environment | None = None

    def system(self, cache: Path, target: str | None = None, **options: Any) -> System:
        """Ready to run; `target` is another class than the usual one."""
        more: dict[str, Any] = {}
        if self.environment:
            more["python"] = str(self.environment.python(cache))
        if self.backend:
            more["environment"] = {"KERAS_BACKEND": self.backend}
        return System(
            self.name,
            f"{SYSTEMS}.{target or self.target}",
            {**self.options, **options},
            **more,
        )


BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
_BFLOAT16 = {"dtype": "mixed_bfloat16"}
OURS = {
    backend: Entry(f"{name}, float32", "ours:Ours", backend=backend)
    for backend, name in BACKENDS.items()
} | {
    f"{backend}-bf16": Entry(f"{name}, bfloat16", "ours:Ours", _BFLOAT16, backend)
    for backend, name in BACKENDS.items()
}
PLAIN = "plain PyTorch"
YARDSTICKS = {
    "plain": Entry(PLAIN, "plain:Plain"),
    "recbole": Entry(
        "RecBole MultiVAE", "recbole_multivae:RecBole", environment=RECBOLE
    ),
    "recbole-mixed": Entry(
        "RecBole MultiVAE, enable_amp",
        "recbole_multivae:RecBole",
        {"mixed": True},
        environment=RECBOLE,
    ),
    "cornac": Entry("Cornac VAECF", "cornac_vaecf:Cornac", environment=CORNAC),
}
ALL = OURS | YARDSTICKS
FLOAT32 = [OURS[backend].name for backend in BACKENDS]
ALL_OURS = [entry.name for entry in OURS.values()]
