"""The power is cut: what an ext4 disk holds then, and a computer started anew.

The state directory is an ext4 file system in a file. A copy of that file, made when
the daemon is killed, has what the disk was given until then, and nothing of what was
in memory only. To mount it replays the journal, as after a power cut.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from scripts.chaos_trials.tools import system
from scripts.chaos_trials.trial import Trial

_MIB = 24
_OUTPUTS = "media/outputs"
# Nothing but what asks for it may write to the disk while it is copied.
_OPTIONS = "loop,noatime,commit=300"


async def cut(trial: Trial) -> None:
    """Cut the power at any moment, with everything on one disk."""
    await _cut(trial, {"": await _disk(trial, "one", trial.stage.seed)})


async def cut_of_two(trial: Trial) -> None:
    """Cut the power of two disks: the outputs have one of their own.

    On one, whoever syncs the gallery happens to make the names durable too.
    """
    seed = trial.stage.seed
    gallery = await _disk(trial, "one", seed)
    outputs = await _disk(trial, "outputs", seed / _OUTPUTS)
    await _cut(trial, {"": gallery, _OUTPUTS: outputs})


async def _cut(trial: Trial, disks: dict[str, Path]) -> None:
    trial.state.mkdir()
    before, after = trial.folder / "before", trial.folder / "after"
    for folder in (before, after):
        folder.mkdir()
    for disk in disks.values():
        await system("cp", "--sparse=always", str(disk), str(before))
    async with mounted(trial.state, before, disks):
        await trial.kill_anywhere()
        for disk in disks.values():
            await system("cp", "--sparse=always", str(before / disk.name), str(after))
    async with mounted(trial.state, after, disks):
        trial.judge()
        await trial.come_to_rest(rebooted=True, retold=trial.struck)
    shutil.rmtree(before)
    shutil.rmtree(after)


@asynccontextmanager
async def mounted(
    state: Path, folder: Path, disks: dict[str, Path]
) -> AsyncIterator[None]:
    """Mount the disks of a folder, each at its place in the state directory."""
    async with AsyncExitStack() as stack:
        for place, disk in disks.items():
            where = str(state / place)
            await system("mount", "-o", _OPTIONS, str(folder / disk.name), where)
            stack.push_async_callback(system, "umount", where)
        yield


async def _disk(trial: Trial, name: str, content: Path) -> Path:
    """Return a disk with this content, which is made once."""
    disk = trial.stage.root / f"{name}.ext4"
    if not disk.exists():
        new = trial.folder / disk.name
        await asyncio.to_thread(_grow, new)
        options = ("-q", "-F", "-E", "lazy_itable_init=0", "-d", str(content))
        await system("mkfs.ext4", *options, str(new))
        new.rename(disk)
    return disk


def _grow(disk: Path) -> None:
    with disk.open("wb") as file:
        file.truncate(_MIB * 2**20)
