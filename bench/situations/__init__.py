"""The situations of `scripts/bench truth`, each a function: how it is made, what is true, what has to be printed."""

from situations import clocks, deletions, jobs, real, repairs, versions, waits  # noqa: F401: they register themselves
