"""A deterministic scheduler: real code in threads, of which one runs at a time and another may go on at every step.

A step is a call to the kernel that the code under test makes through its module's `os`. Who goes on, who is killed and
which transaction is lost is drawn from a seed, so that a schedule that fails can be run again.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

STEPS = frozenset({"rename", "link", "unlink", "utime", "stat", "listdir"})


class Killed(BaseException):
    """A process that was killed: nothing it still wants to do has any effect."""


class Actor:
    """One process."""

    def __init__(self, name, work):
        self.name, self.work = name, work
        self.turn = threading.Lock()
        self.turn.acquire()
        self.dead = self.over = False
        self.waits_for = None
        self.error = None


class Schedule:
    """Runs actors to their end, one step at a time; `every` is called after each step."""

    def __init__(self, draw, *, kills=0.0, losses=0.0, every=lambda: None):
        self.draw, self.kills, self.losses, self.every = draw, kills, losses, every
        self.actors, self.now = [], None
        self.finished = threading.Lock()
        self.finished.acquire()
        self.trace, self.failure = [], None

    def add(self, name, work):
        self.actors.append(Actor(name, work))

    def run(self):
        threads = [threading.Thread(target=self._one, args=(actor,), daemon=True) for actor in self.actors]
        for thread in threads:
            thread.start()
        self._pass()
        assert self.finished.acquire(timeout=60), f"nobody can go on: {self.trace[-20:]}"
        if self.failure is not None:
            raise self.failure  # the others wait for a turn that does not come
        for thread in threads:
            thread.join()
        for actor in self.actors:
            if actor.error is not None:
                raise actor.error

    def step(self, what):
        """Another may go on before this step."""
        actor = self.now
        if actor is None or threading.current_thread().name != f"actor-{actor.name}":
            return  # the test itself
        if actor.dead or (self.kills and self.draw.random() < self.kills):
            actor.dead = True
            raise Killed
        self.trace.append((actor.name, what))
        if self.draw.random() < 0.6:
            self._pass()
            actor.turn.acquire()

    def _one(self, actor):
        threading.current_thread().name = f"actor-{actor.name}"
        actor.turn.acquire()
        try:
            actor.work()
        except Killed:
            self.trace.append((actor.name, "killed"))
        except BaseException as error:  # noqa: BLE001 (handed to the test)
            actor.error = error
        actor.over = True
        self._pass()

    def _pass(self):
        if self.now is not None:
            try:
                self.every()
            except AssertionError as error:
                self.failure = error
                self.finished.release()
                return
        ready = [
            a for a in self.actors if not a.over and not (a.waits_for and a.waits_for.holder is not None)
        ]
        if not ready:
            self.finished.release()
            return
        self.now = self.draw.choice(ready)
        self.now.turn.release()

    def system(self):
        """Return an `os` whose calls are steps."""
        return _System(self)


class _System:
    def __init__(self, schedule):
        self._schedule = schedule

    def __getattr__(self, name):
        found = getattr(os, name)
        if name not in STEPS:
            return found

        def call(*args, **kwargs):
            self._schedule.step(name)
            return found(*args, **kwargs)

        return call


class Book:
    """Records with one writer at a time, whose transactions may be lost: then another writes, and the commit fails."""

    def __init__(self, schedule):
        self.schedule, self.holder, self.kept = schedule, None, {}

    @contextmanager
    def writing(self, *, changes=None):
        schedule = self.schedule
        me, mine = schedule.now, object()
        me.waits_for = self
        while self.holder is not None:
            schedule.step("wait")
        me.waits_for, self.holder = None, mine
        try:
            yield frozenset().union(*self.kept.values())
            schedule.step("commit")
            if self.holder is mine and changes is not None:
                self.kept.update(changes)
        finally:
            if self.holder is mine:
                self.holder = None

    def lose(self):
        """Take the lock from whoever holds it, who does not know."""
        self.holder = None
