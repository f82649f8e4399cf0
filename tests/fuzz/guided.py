"""Coverage-guided fuzzing of one target: python -m fuzz.guided TARGET [LIBFUZZER'S ...]

Atheris watches which branches of the project each input takes, and keeps those that
take new ones.
"""

from __future__ import annotations

import sys
from importlib import import_module


def main() -> None:
    """Let libFuzzer call the target until it finds something, or is to end."""
    # Only what runs this module has it at hand.
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["materializer"]):
        from fuzz import targets
    target = targets.TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, lambda data: targets.run(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
