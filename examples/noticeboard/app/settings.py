"""What a program is told by its environment. What is missing is reported all at once."""

import os
import sys


def read(required: list[str], **optional: str) -> dict[str, str]:
    """The variables by name. Ends the program with exit code 1 where a required one is missing."""
    missing = [name for name in required if not os.environ.get(name)]
    if missing:
        sys.exit("error: the environment is incomplete: " + ", ".join(f"{name} is not set" for name in missing))
    values = {name: os.environ[name] for name in required}
    return values | {name: os.environ.get(name) or default for name, default in optional.items()}
