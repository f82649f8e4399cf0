"""The command of `scripts/chaos`."""

from __future__ import annotations

from scripts.chaos_trials.command import main

main()
