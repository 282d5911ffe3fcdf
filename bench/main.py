"""Runs benchmarks and prints their figures. See scripts/bench."""

import argparse
import signal
import sys

from report import Report


def local(report, arguments):
    import local

    local.run(report, arguments)


def kubernetes(report, arguments):
    # It wants to know at once where Kubernetes is, which the others don't need.
    import kubernetes

    kubernetes.run(report, arguments)


def trust(report, arguments):
    import trust

    trust.run(report, arguments)


def truth(report, arguments):
    import truth

    truth.run(report, arguments)


def language(report, arguments):
    import language

    language.run(report, arguments)


def kinds(report, arguments):
    import kinds

    kinds.run(report, arguments)


BENCHMARKS = {"local": local, "kubernetes": kubernetes, "trust": trust, "truth": truth, "language": language, "kinds": kinds}


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("name", choices=[*BENCHMARKS, "all"])
    parser.add_argument("--json", help="write one JSON object a line to this file")
    parser.add_argument("--only", help="only the figures of this part; of a cluster also several, with commas")
    parser.add_argument("--apps", type=int, default=1000, help="how many apps are put into a cluster")
    parser.add_argument("--repeat", type=int, default=20, help="how many tenants and rollouts there are in a cluster")
    parser.add_argument("--interruptions", type=int, default=500, help="how often jobs of a cluster are interrupted")
    arguments = parser.parse_args()
    # Whoever ends this gets everything cleaned up that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report()
    names = BENCHMARKS if arguments.name == "all" else [arguments.name]
    try:
        for name in names:
            BENCHMARKS[name](report, arguments)
        if not report.figures:
            parser.error(f"{arguments.name} has no part called {arguments.only}: `scripts/bench` lists them")
    finally:
        # What was measured before something went wrong is told, too.
        report.show(sys.stdout)
        if arguments.json:
            report.write(arguments.json)


if __name__ == "__main__":
    main()
