"""The command of `scripts/soak`."""

from __future__ import annotations

from scripts.endurance.command import main

main()
