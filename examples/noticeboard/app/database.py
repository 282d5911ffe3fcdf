"""Statements, run by psql.

Nothing secret and nothing that people wrote stands on a command line, where every user of the machine could read it:
psql gets the password and the parameters through its environment. Parameters reach a statement as psql variables, which
psql itself quotes (`:'title'`), so that they can't become SQL.
"""

import json
import os
import subprocess
from typing import Any
from urllib.parse import unquote, urlsplit

# No longer than the router waits for an answer.
TIMEOUT_SECONDS = 12


class DatabaseError(Exception):
    """psql failed; the text says why."""


class Database:
    """A database at a URL such as `postgresql://user:password@host:port/name`."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname:
            # The value stays out of the message: there is a password in it.
            raise DatabaseError("DATABASE_URL is not a PostgreSQL URL")
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PGHOST": parts.hostname,
            "PGPORT": str(parts.port or 5432),
            "PGUSER": unquote(parts.username or ""),
            "PGPASSWORD": unquote(parts.password or ""),
            "PGDATABASE": unquote(parts.path.removeprefix("/")),
            "PGAPPNAME": "noticeboard",
            "PGCONNECT_TIMEOUT": "3",
            "PGCLIENTENCODING": "UTF8",
        }

    def run(self, script: str, parameters: dict[str, str] | None = None, timeout: float = TIMEOUT_SECONDS) -> str:
        """Runs a script in one transaction; gives what it printed."""
        parameters = parameters or {}
        if any("\0" in value for value in parameters.values()):
            raise DatabaseError("a value contains a character that can't be stored")
        names = [(name, f"PARAMETER_{name.upper()}") for name in parameters]
        variables = "".join(f"\\getenv {name} {variable}\n" for name, variable in names)
        environment = self._environment | {variable: parameters[name] for name, variable in names}
        command = ["psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--single-transaction"]
        command += ["--set", "ON_ERROR_STOP=1", "--file", "-"]
        try:
            done = subprocess.run(
                command, input=variables + script, env=environment, text=True, capture_output=True, timeout=timeout
            )
        except FileNotFoundError as error:
            raise DatabaseError("psql is not on PATH: install PostgreSQL's client") from error
        except subprocess.TimeoutExpired as error:
            raise DatabaseError(f"psql gave no answer in {timeout:g} s") from error
        if done.returncode != 0:
            raise DatabaseError(" ".join(done.stderr.split()) or f"psql ended with exit code {done.returncode}")
        return done.stdout

    def value(self, statement: str, parameters: dict[str, str] | None = None, timeout: float = TIMEOUT_SECONDS) -> Any:
        """The one JSON value that a statement gives; None where it gives no row."""
        printed = self.run(statement, parameters, timeout).strip()
        return json.loads(printed) if printed else None
