"""The figures of a cluster as a target. Both sides of a ratio are measured in one run, on the same control plane."""

import json
import os
import subprocess

import apps
import clusters
import rollouts
import tenants
from target import Site

SIMULATED = {"apps": apps.deploy, "noop": apps.noop, "lists": apps.lists, "destroy": apps.destroy, "tenant": tenants.simulated}


def run(report, arguments):
    only = arguments.only.split(",") if arguments.only else [*SIMULATED, "accuracy", "node"]
    chosen = [name for name in SIMULATED if name in only]
    if chosen:
        with clusters.Simulated() as cluster, Site(cluster) as site:
            for name in chosen:
                print(f"{name}:", flush=True)
                SIMULATED[name](report, site, arguments)
    if "accuracy" in only:
        print("accuracy:", flush=True)
        with clusters.Simulated() as cluster:
            accuracy(report, cluster)
    if "node" in only:
        print("node:", flush=True)
        with clusters.Node() as cluster, Site(cluster) as site:
            tenants.real(report, site, arguments)
            rollouts.measure(report, site, arguments)


def accuracy(report, cluster):
    """What plans foretold and what came: an example of the provider counts."""
    environment = {**os.environ, "FREEHOLD_TEST_CONTROL_PLANE": cluster.kubeconfig}
    result = subprocess.run(
        [os.environ["FREEHOLD_ACCURACY"]], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if result.returncode != 0:
        raise SystemExit("the accuracy of plans could not be measured")
    *mistakes, last = result.stdout.splitlines()
    for line in mistakes[:20]:
        print(f"    {line}", flush=True)
    counted = json.loads(last)
    report.add("plan accuracy: cases", counted["cases"], "", least=200)
    for kind, count in counted["kinds"].items():
        print(f"    {kind}: {count}", flush=True)
    report.add("plan accuracy: fields", counted["fields"], "")
    report.add("plan accuracy: of these foretold exactly", 100 * counted["exact"] / counted["fields"], "%", least=99.5)
    report.add("plan accuracy: fields that changed", counted["changed"], "")
    report.add("plan accuracy: of these foretold exactly (changes)", 100 * counted["changed_exact"] / max(1, counted["changed"]), "%", least=99.5)
    by_manifest = 100 * counted["changed_exact_by_manifest"] / max(1, counted["changed"])
    report.add("plan accuracy: as the manifests alone would foretell them", by_manifest, "%")
    report.add("plan accuracy: fields said to be unknown until apply", counted["unknown"], "")
    report.add("plan accuracy: deletions not foretold", counted["unpredicted_deletions"], "", 0)
    report.add("plan accuracy: replacements not foretold", counted["unpredicted_replacements"], "", 0)
