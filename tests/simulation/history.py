"""One history: lives full of trouble, then a calm one, and then the truth."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from materializer.gallery import Gallery
from simulation import truth
from simulation.cloud import Cloud, Job, picture
from simulation.disk import Disk, empty
from simulation.house import House, Street
from simulation.memory import in_memory
from simulation.people import Consumer, live_long
from simulation.world import Violation, World

OWNERS = ("https://site.test|ann", "https://site.test|bob")
DAY = 86_400.0


@cache
def _new() -> bytes:
    """Return a gallery in which nothing is yet."""
    with in_memory() as folder:
        path = folder / "gallery.db"
        Gallery.open(path, folder)._db.close()
        return path.read_bytes()


@dataclass(frozen=True)
class Outcome:
    """What a history has come to.

    Attributes:
        trace: a digest of everything that happened.
        effects: how many there were in it.
        deaths: of the process.
    """

    trace: str
    effects: int
    deaths: int


class History:
    """A history, to be run once.

    Args:
        seed: chooses everything.
        state: a directory that is its own.
        death: the effect that its only rough life ends before, in place of chance.

    Attributes:
        deaths: of the process, so far.
        died_as_told: whether the last rough life has come to that effect.
    """

    def __init__(self, seed: int, state: Path, death: int | None = None) -> None:
        self.world = World(seed)
        empty(state)
        (state / "media" / "outputs" / ".partial").mkdir(parents=True)
        self.cloud = Cloud(self.world)
        outputs = state / "media" / "outputs"
        self.truth = truth.Truth(self.world, self.cloud, outputs)
        self.disk = Disk(self.world, outputs, self.truth.require_whole)
        self.street = Street(self.world, self.cloud, self.disk, state)
        self.consumers = [
            Consumer(name, self.world, self.cloud, self.truth.require_there)
            for name in ("app", "page")
        ]
        self._death = death
        self._database = state / "media" / "gallery.db"
        self.deaths = 0
        self.died_as_told = False
        self._owner: str | None = OWNERS[0]

    @property
    def words(self) -> str:
        """What runs it again."""
        death = f" --death {self._death}" if self._death else ""
        return f"scripts/simulate --seed {self.world.seed}{death}"

    def run(self) -> Outcome:
        """Live it.

        Raises:
            Violation: a promise was broken.
        """
        logger = logging.getLogger("materializer")
        level, logger.level = logger.level, logging.ERROR
        try:
            self._database.write_bytes(_new())
            self.disk.settle()
            for _ in range(1 if self._death else self.world.chance.randint(1, 4)):
                self._rough_life()
            self._calm_life()
        except BaseException as error:
            error.add_note(self.words)
            raise
        finally:
            logger.level = level
        return Outcome(self.world.trace, self.world.effects, self.deaths)

    def _rough_life(self) -> None:
        world, chance = self.world, self.world.chance
        while world.maybe(0.6):
            self._finish_job()
        world.now += chance.choice([1.0, 60.0, 3600.0, DAY]) * chance.random()
        if self._death is not None:
            world.dies_at = self._death
        elif chance.random() < 0.8:
            world.dies_at = world.effects + chance.randint(1, 200)
        alive = self.street.live(self._trouble)
        self.died_as_told = world.effects == world.dies_at
        world.dies_at = None
        world.full = False
        self._after(alive=alive)

    def _after(self, *, alive: bool) -> None:
        if self.truth.broken:
            raise Violation(self.truth.broken[0])
        self.truth.note_end(self._database, self.street.notes)
        if alive:
            return
        self.deaths += 1
        if self.world.chance.random() < 0.6:
            self.world.troubles["power cut"] += 1
            self.disk.cut_power()
            self.street.database.cut_power()
        else:
            self.world.troubles["kill"] += 1
        self.truth.check_rows_stand(self._database)
        for path in self.disk.files():
            self.truth.require_whole(path)
        if self.truth.broken:
            raise Violation(self.truth.broken[0])

    def _calm_life(self) -> None:
        self.world.rough = False
        if not self.street.live(self._calm):
            raise Violation(*self.truth.broken or ["it died in peace"])
        self._after(alive=True)
        self.truth.check_all(self._database, self.street.notes, self.deaths)
        for consumer in self.consumers:
            self.truth.check_told(self._database, consumer)

    def _attended(self, house: House) -> list[Coroutine[Any, Any, None]]:
        house.sign_in(self._owner)
        return [consumer.attend(house) for consumer in self.consumers]

    def _trouble(self, house: House) -> list[Coroutine[Any, Any, None]]:
        seconds = self.world.chance.choice([5, 60, 600, 20_000])
        others = self._attended(house)
        return [live_long(self.world, seconds), self._stir(house), *others]

    def _calm(self, house: House) -> list[Coroutine[Any, Any, None]]:
        return [self._rest(house), *self._attended(house)]

    async def _rest(self, house: House) -> None:
        for owner in (*OWNERS, OWNERS[0]):
            house.sign_in(owner)
            await asyncio.sleep(10 * DAY)
        effects = self.world.effects
        await asyncio.sleep(10 * DAY)
        if self.world.effects != effects:
            raise Violation("it is not quiet at the end")

    async def _stir(self, house: House) -> None:
        """Let happen what comes from outside."""
        chance = self.world.chance
        for _ in range(chance.randint(0, 16)):
            await asyncio.sleep(chance.random() ** 3 * 100)
            what = chance.random()
            if what < 0.4:
                self._finish_job()
            elif what < 0.56:
                self._owner = chance.choice([*OWNERS, None])
                what_for = "account switch" if self._owner else "sign-out"
                self.world.troubles[what_for] += 1
                house.sign_in(self._owner)
            elif what < 0.66:
                self.world.troubles["clock jump"] += 1
                self.world.skew = chance.choice([0, 1, -1]) * chance.random() * 3 * 3600
            elif what < 0.78:
                self.world.full = not self.world.full
            elif what < 0.89:
                await self._remove_item(house)
            else:
                self._delete_file()

    def _finish_job(self) -> None:
        chance = self.world.chance
        number = len(self.cloud.jobs)
        job = Job(
            chance.choice([OWNERS[0], *OWNERS]),
            f"j{number}",
            self.world.true_ms() - int(chance.random() ** 4 * 100_000),
        )
        if chance.random() < 0.3:
            job.error = f"boom {job.id}."
            job.canceled = chance.random() < 0.3
        else:
            job.files = [
                picture(f"{job.id}.{index}", chance.choice([50, 500, 5000, 9000]))
                for index in range(chance.randint(1, 3))
            ]
            if chance.random() < 0.1:
                job.refused = frozenset([0])
        self.cloud.add(job)

    async def _remove_item(self, house: House) -> None:
        known = self.truth.items(self._database)
        if known:
            owner, item_id, names = self.world.chance.choice(known)
            self.world.troubles["item removed"] += 1
            delete = self.world.chance.random() < 0.5
            self.truth.unwanted.update(names)
            work = house.inventory.remove(owner, item_id, delete_file=delete)
            await self.truth.removing(owner, item_id, work)

    def _delete_file(self) -> None:
        names = [name for name in self.disk.files() if not name.startswith(".")]
        if names:
            name = self.world.chance.choice(names)
            self.world.troubles["file deleted"] += 1
            self.truth.unwanted.add(name)
            self.disk.forget(name)
            self.street.changed.put_nowait(name)
