"""The worker: publishes what is queued, and says so. Several of them never take the same notice."""

import signal
import sys
import threading

import settings
from database import Database, DatabaseError

PUBLISH = """
WITH published AS (
    UPDATE notices SET published_at = now() WHERE id IN (
        SELECT id FROM notices WHERE published_at IS NULL ORDER BY id LIMIT 20 FOR UPDATE SKIP LOCKED
    ) RETURNING id, title
)
SELECT coalesce(json_agg(json_build_object('id', id, 'title', title) ORDER BY id), '[]') FROM published;
"""

# The longest pause after failures, in seconds.
LONGEST_PAUSE = 10.0


def main() -> None:
    values = settings.read(["DATABASE_URL"], POLL_SECONDS="1")
    try:
        poll = float(values["POLL_SECONDS"])
    except ValueError:
        sys.exit(f"error: POLL_SECONDS is {values['POLL_SECONDS']!r}, which is not a number")
    database = Database(values["DATABASE_URL"])
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    print("waiting for notices", flush=True)
    pause = poll
    while not stopping.is_set():
        try:
            published = database.value(PUBLISH)
            for notice in published:
                print(f"published notice {notice['id']}: {notice['title']!r}", flush=True)
            # Where there was something, there may be more.
            pause = 0.0 if published else poll
        except DatabaseError as error:
            if stopping.is_set():
                break
            pause = min(max(pause, poll, 0.5) * 2, LONGEST_PAUSE)
            print(f"error: {error}; trying again in {pause:g} s", flush=True)
        stopping.wait(pause)
    print("ended", flush=True)


if __name__ == "__main__":
    main()
