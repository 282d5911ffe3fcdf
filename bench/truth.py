"""Whether what people are told of a cluster is true: situations, each judged by the cluster's own view.

A situation is one function in bench/situations. It makes something happen, and gives back what a command said and what has to stand in
it. What is true is asked of the cluster's API, never through Freehold:

  false "failed"          a deploy was called failed, and the same objects got ready without any change
  false "ready"           a deploy was called done, or a stack ready, and the cluster doesn't have it so
  false "still serving"   it was said that a revision serves, and no Pod of it was ready
  without a named cause   a failure, or a wait, without the words that name its cause

Times from a cause to the first line that names it are taken from where the cluster's own objects show it, and from where the situation
made it, if it did.
"""

import multiprocessing
import re
import time

import clusters
import interruptions
from report import percentile
from stacks import Stack
from target import Site, together

# How long after a verdict of failure the cluster may still prove it wrong.
PROVED_WRONG = 20
# How long a reason may take.
SOON = 10
# How many situations there are at once.
TOGETHER = 8
# From when on the time to a reason is taken.
SINCE = {"shown": "where the cluster shows the cause", "made": "where the cause was made"}
# How a process ends that was told to.
ENDED = 143
SITUATIONS = []


def situation(place="simulated", alone=False):
    """Registers a function as a situation: its name is what the table says. `alone`: it touches what others share."""

    def register(function):
        SITUATIONS.append((place, alone, function))
        return function

    return register


class Judged:
    """What a situation came to."""

    def __init__(self, stack, said, good, causes=(), made=None):
        """`good`: whether it has to succeed; `None`: whatever is said has to be so. `causes`: patterns that have to be printed, the first
        of them the reason. `made`: when the situation made the cause."""
        self.stack, self.said, self.good, self.causes, self.made = stack, said, good, causes, made
        self.shown = stack.witness
        self.faults = []

    def judge(self, deployed=True):
        stack, said = self.stack, self.said
        there = deployed and stack.is_there()
        if deployed and said.code == 0 and (not there or self.good is False):
            self.faults.append('false "ready"')
        if "is still serving" in said.text and not stack.serves():
            self.faults.append('false "still serving"')
        if said.code != 0 and (self.good is True or (deployed and self.good is None and self.proved_wrong())):
            self.faults.append('false "failed"')
        if deployed and self.good is False and said.code != 0 and self.proved_wrong():
            self.faults.append('false "failed"')
        if any(not re.search(cause, said.text) for cause in self.causes):
            self.faults.append("without a named cause")
        return self

    def proved_wrong(self):
        """Whether everything gets ready although nobody does anything."""
        deadline = time.monotonic() + PROVED_WRONG
        while time.monotonic() < deadline:
            if self.stack.is_there():
                return True
            time.sleep(0.5)
        return False

    def fault(self, fault, condition=True):
        if condition:
            self.faults.append(fault)
        return self

    def reason_after(self, since):
        """Seconds from then to the first line that names the cause."""
        if since is None or not self.causes:
            return None
        begun = max(since, self.said.begun)
        when = self.said.first(self.causes[0])
        return None if when is None else max(0.0, when - begun)


KINDS = ('false "failed"', 'false "ready"', 'false "still serving"', "without a named cause")


class Beside:
    """Work in a process of its own, which ends with this one."""

    def __init__(self, work, *arguments):
        fork = multiprocessing.get_context("fork")
        self.here, there = fork.Pipe()
        self.process = fork.Process(target=lambda: there.send(work(*arguments)))

    def __enter__(self):
        self.process.start()
        return self

    def __exit__(self, *_):
        if self.process.is_alive():
            self.process.terminate()
        self.process.join()

    def result(self):
        while not self.here.poll(1):
            if not self.process.is_alive() and not self.here.poll(0):
                raise SystemExit("the situations of the node have ended early")
        return self.here.recv()


def run(report, arguments):
    import situations  # noqa: F401: registers them

    only = arguments.only.split(",") if arguments.only else None
    chosen = [one for one in SITUATIONS if not only or one[0] in only or one[2].__name__ in only]
    interrupted = None
    # Both spend most of the time with waiting.
    with Beside(at, "node", clusters.Node, chosen) as node:
        rows = at("simulated", clusters.Simulated, chosen)
        if only is None or "interruptions" in only:
            interrupted = interruptions.run(arguments.interruptions)
        rows += node.result()
    if rows:
        tell(report, rows, only)
    if interrupted:
        interrupted(report)


def at(place, cluster, chosen):
    """The situations of one place; of each what it came to."""
    chosen = [one for one in chosen if one[0] == place]
    if not chosen:
        return []
    with cluster() as running, Site(running) as site:
        # Each has a namespace of its own. A real node has one processor's work to do.
        shared = [one for one in chosen if place == "simulated" and not one[1]]
        rows = together(lambda one: tried(site, one), shared, TOGETHER)
        return rows + [tried(site, one) for one in chosen if one not in shared]


def tell(report, rows, only):
    report.add("situations", len(rows), "", least=None if only else 60)
    counted = lambda fault: sum(fault in row["faults"] for row in rows)
    report.add("situations that could not be made", counted("not made"), "", 0)
    for kind in KINDS:
        report.add(f"verdicts: {kind}", counted(kind), "", 0)
    report.add("other faults", sum(any(fault not in (*KINDS, "not made") for fault in row["faults"]) for row in rows), "", 0)
    for what, name in SINCE.items():
        seconds = [row[what] for row in rows if row[what] is not None]
        if seconds:
            report.add(f"from {name} to a printed reason, p50 of {len(seconds)}", percentile(seconds, 0.5), "s")
            report.add(f"from {name} to a printed reason, p95 of {len(seconds)}", percentile(seconds, 0.95), "s", SOON)


def tried(site, situation):
    """One situation; its line of the table."""
    place, _, function = situation
    name, begin = function.__name__.replace("_", " "), time.monotonic()
    stack, lines = Stack(site), []
    row = {"place": place, "name": name, "faults": [], "shown": None, "made": None}
    try:
        judged = function(stack)
        row["faults"] += judged.faults
        row["shown"] = judged.reason_after(judged.shown.when if judged.shown else None)
        row["made"] = judged.reason_after(judged.made)
        if judged.faults or any((row[what] or 0) > SOON for what in SINCE):
            lines = [f"      {when - judged.said.begun:5.1f} {line}" for when, line in judged.said.lines[-40:]]
    except (SystemExit, Exception) as problem:  # noqa: BLE001: it must not end the others
        if isinstance(problem, SystemExit) and problem.code == ENDED:
            raise
        # The situation itself could not be made: that is a fault, too.
        row["faults"].append("not made")
        lines = [f"      {type(problem).__name__}: {problem}"]
    finally:
        cleaned = stack.clean()
    # There is none, or something of the situation's own is beside it.
    if cleaned.code and not re.search("FH1003|FH1214", cleaned.text):
        row["faults"].append("its destroy failed")
        lines.append(f"      {cleaned.text[-600:]}")
    seconds = "".join(f", {row[what]:.1f} s from {name}" for what, name in SINCE.items() if row[what] is not None)
    told = f"    {place:<9} {time.monotonic() - begin:6.1f} s  {name}: {', '.join(row['faults']) or 'true'}{seconds}"
    print("\n".join([told, *lines]), flush=True)
    return row
