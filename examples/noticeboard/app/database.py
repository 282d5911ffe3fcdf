"""Statements, run by psql.

Nothing secret and nothing that people wrote stands on a command line, where every user of the machine could read it:
psql gets the password and the parameters through its environment. Parameters reach a statement as psql variables, which
psql itself quotes (`:'title'`), so that they can't become SQL.
"""

import json
import os
import subprocess
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

# No longer than the router waits for an answer.
TIMEOUT_SECONDS = 12


class DatabaseError(Exception):
    """psql failed; the text says why."""


class Database:
    """A database at a URL: `postgresql://user:password@host:port/name`, or with all of it in the query, where `host` may be the
    folder of a Unix socket: `postgresql:///name?host=/folder&port=5432&user=user&password=password`."""

    def __init__(self, url: str):
        try:
            parts = urlsplit(url)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            host, port = query.get("host") or parts.hostname, query.get("port") or str(parts.port or 5432)
        except ValueError as error:
            raise DatabaseError("DATABASE_URL is not a PostgreSQL URL") from error
        if parts.scheme not in ("postgresql", "postgres") or not host:
            # The value stays out of the message: there is a password in it.
            raise DatabaseError("DATABASE_URL is not a PostgreSQL URL")
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PGHOST": host,
            "PGPORT": port,
            "PGUSER": query.get("user") or unquote(parts.username or ""),
            "PGPASSWORD": query.get("password") or unquote(parts.password or ""),
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
