"""How many places a new kind of resource and a new part of the definition need, and whether the compiler finds one that is left out.

tests/toy has a patch for each file of a part `note` and its kind `local.note`. All of them are applied to a copy of the tree, whose own tests
of the toy have to pass; then each is left out in turn, and the copy must not compile.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(os.environ["FREEHOLD_TOP"])
PATCHES = sorted((TOP / "tests/toy").glob("*.patch"))
# The toy's crates and all that use them.
CHECK = ["cargo", "check", "--workspace", "--lib", "--bins", "--locked", "--quiet"]
TEST = ["cargo", "test", "--workspace", "--lib", "--locked", "--quiet", "toy::"]
TESTS = 2


def run(report, arguments):
    if arguments.only:
        return
    folder = Path(tempfile.mkdtemp(prefix="freehold-toy-"))
    try:
        copy(folder)
        for patch in PATCHES:
            apply(folder, patch)
        tested = cargo(folder, TEST)
        passed = tested.stdout.count("test result: ok. 1 passed")
        if tested.returncode or passed != TESTS:
            sys.exit(f"the toy's tests failed ({passed} of {TESTS} passed):\n{tested.stdout}{tested.stderr}")
        unnoticed = [patch.name for patch in PATCHES if compiles_without(folder, patch)]
        for name in unnoticed:
            print(f"  without {name} everything compiles", file=sys.stderr)
        report.add("places to edit for a new kind of resource and its part", len(PATCHES), "files", target=8)
        report.add("of these, left out and not found by the compiler", len(unnoticed), "files", target=0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy(folder):
    """What is in the repository's tree, as it stands now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=TOP, capture_output=True, check=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (TOP / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, folder / name)


def apply(folder, patch, *options):
    # Not as a part of whatever repository the folder may lie in.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    subprocess.run(["git", "apply", *options, str(patch)], cwd=folder, env=environment, check=True)


def compiles_without(folder, patch):
    apply(folder, patch, "-R")
    checked = cargo(folder, CHECK)
    apply(folder, patch)
    if checked.returncode and "could not compile" not in checked.stderr:
        sys.exit(f"cargo check failed for another reason:\n{checked.stderr}")
    print(f"  without {patch.name}: {'compiles' if not checked.returncode else 'does not compile'}", flush=True)
    return checked.returncode == 0


def cargo(folder, command):
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)
