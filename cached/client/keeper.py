"""Keeps leases alive from one background thread."""

from __future__ import annotations

import logging
import math
import random
import threading
import time

from cached.client.connection import Connection
from cached.client.grant import LeaseGrant, acquire_request, same_tree
from cached.client.holds import Book, Hold, as_failure, moved, tell
from cached.core.errors import CachedError

log = logging.getLogger(__name__)


class Keeper:
    """Owns all holds of one client. Its thread begins with the first hold and ends with `stop`.

    Renewals are quick and happen in that thread; acquiring a lost tree again may take long, so each of
    those, rare as they are, gets a thread of its own. All are daemon threads: they never keep a process
    alive.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._book = Book(random.random)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._wakes_at = math.inf

    def add(self, hold: Hold) -> None:
        """Begin to keep it."""
        with self._changed:
            self._book.add(hold, time.monotonic())
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="cached-leases", daemon=True)
                self._thread.start()
            # Waking it for nothing would cost the caller more than the rest of a warm acquire does.
            if hold.due < self._wakes_at:
                self._changed.notify()

    def release(self, hold: Hold) -> None:
        """Give it up, on the wire too. Does nothing for one that is not kept."""
        with self._changed:
            there = self._book.remove(hold)
        if there and not hold.gone:
            self._give_back(hold.lease)

    def stop(self) -> None:
        """Give up all."""
        with self._changed:
            self._stopped = True
            holds = self._book.clear()
            self._changed.notify()
        for hold in holds:
            if not hold.gone and not self._give_back(hold.lease):
                break  # the others would wait as long; they expire

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                due = self._book.take_due(now)
                if self._stopped:
                    return
                if not due:
                    self._wakes_at = self._book.next_due()
                    self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
                    continue
            for hold in due:
                if hold.gone:
                    threading.Thread(
                        target=self._keep, args=(hold,), name="cached-acquire-again", daemon=True
                    ).start()
                else:
                    self._keep(hold)

    def _keep(self, hold: Hold) -> None:
        try:
            lease = self._acquire_again(hold) if hold.gone else self._connection.renew(hold.lease.id)
        except Exception as caught:
            error = as_failure(caught)
            with self._changed:
                verdict = self._book.failed(hold, error, time.monotonic())
                self._changed.notify()
            tell(hold, verdict, error)
            return
        with self._changed:
            wanted = self._book.kept(hold, lease, time.monotonic())
            self._changed.notify()
        if not wanted:
            self._give_back(lease)

    def _acquire_again(self, hold: Hold) -> LeaseGrant:
        request = acquire_request(same_tree(hold.ref, hold.grant.tree), hold.ttl, hold.holder)
        grant = self._connection.acquire(request, None, None)
        error = moved(hold, grant)
        if error:
            self._give_back(grant.lease)
            raise error
        return grant.lease

    def _give_back(self, lease: LeaseGrant) -> bool:
        try:
            self._connection.release(lease.id)
        except CachedError as error:
            log.info(
                "a lease could not be released; it expires by itself",
                extra={"lease": lease.id, "reason": str(error)},
            )
            return False
        return True
