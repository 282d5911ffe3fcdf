"""A platform whose clock is off by ten minutes: how old something is, is told by the cluster's clock."""

import pathlib

from situations.making import full, mended, wait
from target import Site
from truth import Judged, situation
from situations.waits import apply_here

# Debian's package libfaketime: it shifts what programs take for the time, and leaves alone how long they wait.
LIBRARIES = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def off(seconds):
    """What makes the clock of a platform, and of its commands, go so many seconds ahead."""
    assert LIBRARIES, "the package libfaketime is missing"
    return {"LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def with_clock(name, seconds):
    """All that is judged by its age: what is older than a deploy, what lasts, what has had its time."""

    def function(stack):
        usual = stack.site
        with Site(stack.cluster, **off(seconds)) as site:
            stack.site = site
            try:
                checked = site.platform.run("target", "check", stack.target, check=False)
                judged, told = through(stack), f"10 min {'behind' if seconds > 0 else 'ahead of'} this machine's"
                return judged.fault("target check doesn't tell the clock", told not in " ".join(checked.stdout.split()))
            finally:
                # Where the stack is known.
                stack.destroy()
                stack.site = usual

    function.__name__ = f"a_platform_whose_clock_is_ten_minutes_{name}"
    return function


def through(stack):
    stack.way = "config"
    failed = stack.deploy(shown=("pods", "CreateContainerConfigError"))
    judged = Judged(stack, failed, False, (r"secret .*not found|CreateContainerConfigError",)).judge()
    judged.faults += Judged(stack, mended(stack), True).judge().faults
    # A refusal counts while there is no room, and has its time.
    stack.way, stack.release = None, 2
    apply_here(stack, full("0"))
    refused = stack.deploy(shown=("replicasets", "exceeded quota: others"))
    judged.faults += Judged(stack, refused, False, (r"quota lets no pod in.*exceeded quota: others",)).judge().faults
    stack.kubectl("delete", "resourcequota", "others")
    stack.release = 3
    judged.faults += Judged(stack, stack.deploy(), True).judge().faults
    # Only where a Pod is held is its deletion told as one.
    pod = wait(stack.pods_of)[0]["metadata"]["name"]
    stack.kubectl("patch", "pod", pod, "--type=merge", "--patch", '{"metadata":{"finalizers":["example.org/keep"]}}')
    destroying = stack.start_destroy()
    wait(lambda: destroying.first("example.org/keep") or destroying.process.poll() is not None)
    stack.kubectl("patch", "pod", pod, "--type=merge", "--patch", '{"metadata":{"finalizers":null}}')
    judged.faults += Judged(stack, destroying.wait(), True, (r"example.org/keep",)).judge(deployed=False).faults
    return judged


situation()(with_clock("ahead", 600))
situation()(with_clock("behind", -600))
