"""Jobs: once for each revision, whatever happens to them."""

import json
import time

from situations.making import full, status_of, wait
from stacks import TOOL
from truth import Judged, situation


def job(more=""):
    """A job of the service itself."""
    return f"""
[job.migrate]
service = "web"
command = ["migrate"]
timeout = "60s"
{more}
[job.migrate.env]
RELEASE = "1"
"""


def goes(stack, way):
    """The stack's job goes a way of the simulated node, which its image says; its service doesn't."""
    stack.more, stack.tool = job().replace('"web"', '"tool"') + TOOL, way


def ran(stack):
    """The Jobs that have run."""
    return sorted(one["metadata"]["name"] for one in stack.items("jobs") if one.get("status", {}).get("startTime"))


@situation()
def a_job_runs_once_for_each_revision(stack):
    stack.more = job()
    stack.first()
    judged = Judged(stack, stack.deploy(), True).judge()
    return judged.fault(f"jobs that ran: {ran(stack)}", ran(stack) != ["migrate-r1", "migrate-r2"])


@situation()
def a_job_that_fails_keeps_the_old_version(stack):
    stack.first()
    goes(stack, "job-failed")
    said = stack.deploy(shown=("jobs", '"type":"Failed"'))
    return Judged(stack, said, False, (r"job migrate failed.*exit code 1", r"FH0701")).judge()


@situation()
def a_job_whose_image_is_not_there(stack):
    goes(stack, "image-pull")
    said = stack.deploy(shown=("pods", "ImagePullBackOff"))
    return Judged(stack, said, False, (r"the image can't be pulled", r"FH0607")).judge()


@situation()
def a_job_that_lacks_a_secret(stack):
    goes(stack, "config")
    said = stack.deploy(shown=("pods", "CreateContainerConfigError"))
    return Judged(stack, said, False, (r"secret \"missing\" not found", r"FH1221")).judge()


@situation()
def a_job_that_takes_longer_than_it_may(stack):
    goes(stack, "stuck")
    stack.more = stack.more.replace("60s", "15s")
    said = stack.deploy(shown=("jobs", "DeadlineExceeded"))
    return Judged(stack, said, False, (r"took longer than it may, after 15 s", r"FH0701")).judge()


@situation()
def a_job_that_no_node_has_room_for(stack):
    stack.changed = [('cpu    = "4"', 'cpu    = "2000"')]
    stack.more = job(more='cpu = "900..900"')
    said = stack.deploy(shown=("pods", "Unschedulable"))
    return Judged(stack, said, False, (r"no node fits its pod",)).judge()


@situation()
def a_job_that_a_quota_has_no_room_for(stack):
    stack.first()
    stack.kubectl("apply", "-f", "-", stdin=json.dumps(full("0")))
    stack.more = job()
    said = stack.deploy(shown=("events", "exceeded quota: others"))
    return Judged(stack, said, False, (r"exceeded quota: others",)).judge()


@situation()
def a_job_that_somebody_deletes_in_the_middle(stack):
    goes(stack, "stuck")
    said = stack.start_deploy()
    wait(lambda: stack.items("pods"))
    made = time.monotonic()
    stack.kubectl("delete", "job", "migrate-r1", "--wait=false")
    return Judged(stack, said.wait(), False, (r"nobody knows how it ended", r"FH0705"), made).judge()


@situation()
def a_job_whose_pod_a_node_ends_for_lack_of_memory(stack):
    goes(stack, "stuck")
    said = stack.start_deploy()
    pod = wait(lambda: stack.items("pods"))[0]["metadata"]["name"]
    made = time.monotonic()
    status_of(stack, pod, {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."})
    return Judged(stack, said.wait(), False, (r"Evicted|low on resource",), made).judge()


@situation()
def a_failed_job_runs_again_with_the_next_deploy_and_only_once(stack):
    goes(stack, "job-failed")
    assert stack.deploy().code != 0, "the job has to fail"
    stack.tool, stack.release = None, 2
    judged = Judged(stack, stack.deploy(), True).judge()
    return judged.fault(f"jobs that ran: {ran(stack)}", ran(stack) not in (["migrate-r2"], ["migrate-r1", "migrate-r2"]))
