"""Jobs whose platform, credentials or API server go away while they run: how many of them run twice, and nobody said so.

Four of five interruptions meet the provider's requests, one by one, in a test of it. The rest are real: `kill -9` of the program while
five deploys are at their jobs on the simulated node. Their Pods end when this says so, also while no platform is there; what has run is
what the API server has seen.
"""

import json
import os
import random
import re
import subprocess
import threading
import time

import clusters
from platform_under_test import TOP
from stacks import RUN, TOOL, Stack
from target import Site, together

# How many deploys each kill meets, and how long their jobs take.
STACKS, TAKES = 5, (0.3, 3.0)
JOB = """
[job.migrate]
service = "tool"
command = ["migrate", "@RELEASE@"]
timeout = "120s"
""" + TOOL


def run(count):
    """Interrupts so many runs; what is to be reported of it."""
    kills = count // 5
    met, twice, asked = of_platforms(kills)
    twice += of_requests(count - kills)

    def tell(report):
        report.add("kill -9 of the real program while jobs run", kills, "")
        report.add("deploys under way when it was killed", met, "", least=kills)
        report.add("runs that were asked about after a kill", asked, "")
        report.add("interruptions of the API, of credentials and of the platform", count, "", least=500)
        report.add("jobs run twice unasked", twice, "", 0)

    return tell


def of_requests(count):
    """How many ran twice: a test of the provider counts."""
    environment = {**os.environ, "FREEHOLD_RUN_INTERRUPTIONS": str(count)}
    tests = os.environ.get("FREEHOLD_PROVIDER_TESTS")
    command = [tests] if tests else ["cargo", "test", "--locked", "-p", "freehold-provider-kubernetes", "--test", "main", "--"]
    result = subprocess.run([*command, "--nocapture", "interruptions::"], cwd=TOP, env=environment, capture_output=True, text=True, check=False)
    line = re.search(r"interruptions: (\d+) .* (\d+)$", result.stdout, re.MULTILINE)
    if not line or int(line.group(1)) != count:
        raise SystemExit(result.stdout + result.stderr)
    print(f"    {line.group(0)}", flush=True)
    return int(line.group(2))


class JobsNode(threading.Thread):
    """The node of the jobs: sees each Pod of one, and ends it well after a while."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.pods, self.ending = cluster, {}, {}
        self.stopped = threading.Event()
        self.start()

    def run(self):
        path = f"{clusters.API['pods']}/pods?labelSelector=batch.kubernetes.io%2Fjob-name"
        while not self.stopped.wait(0.1):
            for pod in json.loads(self.cluster.read(path) or '{"items": []}')["items"]:
                self.look(pod)

    def look(self, pod):
        name, uid = pod["metadata"], pod["metadata"]["uid"]
        if not name["namespace"].startswith(RUN) or pod.get("status", {}).get("phase") == "Succeeded":
            return
        release = pod["spec"]["containers"][0]["command"][-1]
        self.pods.setdefault((name["namespace"], release), set()).add(uid)
        due = self.ending.setdefault(uid, time.monotonic() + random.uniform(*TAKES))
        if time.monotonic() >= due:
            ended = {"name": pod["spec"]["containers"][0]["name"], "ready": False, "restartCount": 0, "image": "", "imageID": ""}
            ended["state"] = {"terminated": {"exitCode": 0, "reason": "Completed"}}
            change = {"status": {"phase": "Succeeded", "containerStatuses": [ended]}}
            self.cluster.write(f"{clusters.API['pods']}/namespaces/{name['namespace']}/pods/{name['name']}/status", change)


def of_platforms(kills):
    """How many deploys the kills met, how many jobs ran twice unasked, and how many were asked about."""
    met = twice = asked = 0
    chance = random.Random(8)
    with clusters.Simulated() as cluster, Site(cluster) as site:
        node = JobsNode(cluster)
        stacks = [Stack(site) for _ in range(STACKS)]
        for stack in stacks:
            stack.more, stack.tool = JOB, "stuck"
        together(Stack.first, stacks, STACKS)
        done = 0
        while done < kills:
            begun = [stack.start_deploy() for stack in stacks]
            # Twice while the same deploys go on, as often as that comes out.
            for _ in range(min(2, kills - done)):
                time.sleep(chance.uniform(0.2, 3.5))
                met += sum(said.process.poll() is None for said in begun)
                site.platform.kill()
                time.sleep(chance.choice((0, 0, 2)))
                site.platform.start()
                done += 1
            questions = together(lambda pair: settled(*pair), zip(stacks, begun), STACKS)
            for stack, question in zip(stacks, questions):
                runs = len(node.pods.get((stack.namespace, str(stack.release)), ()))
                asked += question
                if runs > 1 + question:
                    twice += 1
                    print(f"    run twice: release {stack.release} of {stack.name}", flush=True)
                assert runs, f"release {stack.release} of {stack.name} has not run"
                stack.release += 1
            if done % 10 == 0:
                print(f"    {done} kills: {met} deploys met, run twice unasked {twice}, asked about {asked}", flush=True)
        node.stopped.set()
        node.join()
        for stack in stacks:
            stack.clean()
    return met, twice, asked


def settled(stack, said):
    """Deploys until it is done, as a person would; how often it was asked whether a job may run again."""
    questions = 0
    said.wait()
    for _ in range(10):
        if said.code == 0:
            return questions
        questions += "FH0705" in said.text
        said = stack.deploy()
    raise SystemExit(f"{stack.name} doesn't get deployed: {said.text[-2000:]}")
