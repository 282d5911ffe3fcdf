"""Writes the databases of a private PostgreSQL as SQL that any later version reads: fixture.py URL FOLDER, for scripts/fixture.

An object's identity that Freehold records is PostgreSQL's number of it (oid), and a restored object has another one. So each number becomes
`@NAME@` of the role or database, which the test replaces by the number that it finds.
"""

import pathlib
import re
import subprocess
import sys
import urllib.parse


def database(url: str, name: str) -> str:
    return urllib.parse.urlsplit(url)._replace(path=f"/{name}").geturl().replace("postgresql:/", "postgresql:///", 1).replace("////", "///")


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def rows(url: str, statement: str) -> list[list[str]]:
    lines = output("psql", "-XAtq", "-F", "\t", database(url, "postgres"), "-c", statement).splitlines()
    return [line.split("\t") for line in lines]


def roles(url: str) -> str:
    # The superuser's password is of the cluster that these roles are restored into.
    lines = output("pg_dumpall", "--roles-only", "-d", database(url, "postgres")).splitlines()
    lines = [line for line in lines if not re.match(r"(CREATE|ALTER) ROLE postgres\b|\\|--|SET |$", line)]
    # From version 16 on, who makes a role is its administrator.
    made = [line.split()[2].rstrip(";") for line in lines if line.startswith("CREATE ROLE") and " freehold_" not in line]
    administrated = [f"GRANT {role} TO freehold_provisioner WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;" for role in made]
    newer = ["SELECT current_setting('server_version_num')::int >= 160000 AS newer \\gset", "\\if :newer", *administrated, "\\endif"]
    first = next(index for index, line in enumerate(lines) if line.startswith("GRANT"))
    return "\n".join(lines[:first] + newer + lines[first:]) + "\n"


def without_numbers(text: str, numbers: dict[str, str]) -> str:
    for number, name in numbers.items():
        # As a whole object (`"object":"16450"`, a column), or as one of several: `16450/16451`.
        text = re.sub(rf'(?<=["\t/]){number}(?=["\t/\n])', f"@{name}@", text)
    return text


def main() -> None:
    url, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    numbers = {
        number: name
        for number, name in rows(
            url,
            "SELECT oid, datname FROM pg_database WHERE oid >= 16384 AND datname <> 'freehold' "
            "UNION ALL SELECT oid, rolname FROM pg_roles WHERE oid >= 16384 AND rolname !~ '^freehold_'",
        )
    }
    (folder / "roles.sql").write_text(roles(url))
    for (name,) in rows(url, "SELECT datname FROM pg_database WHERE oid >= 16384"):
        text = output("pg_dump", "--create", "-d", database(url, name))
        text = "".join(line for line in text.splitlines(keepends=True) if not re.match(r"--|SET (transaction_timeout|default_table)|\\(un)?restrict|\n", line))
        (folder / f"{name}.sql").write_text(without_numbers(text, numbers))


main()
