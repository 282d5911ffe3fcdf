"""The migration: applies the files in `migrations/` that were not applied yet, in order, all or nothing."""

import hashlib
import re
import sys
from pathlib import Path

import settings
from database import Database, DatabaseError

FOLDER = Path(__file__).resolve().parent.parent / "migrations"

# Held until the transaction ends, so that a second run waits and then finds nothing to do.
RECORD = """
SET client_min_messages = warning;
SET lock_timeout = '60s';
DO 'BEGIN PERFORM pg_advisory_xact_lock(5122017); END';
CREATE TABLE IF NOT EXISTS noticeboard_migrations (
    version    integer PRIMARY KEY,
    digest     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""

APPLIED = "SELECT coalesce(json_object_agg(version, digest), '{}') FROM noticeboard_migrations;"

# psql decides, under the lock, whether a file is still to be applied.
APPLY = r"""
SELECT NOT EXISTS (SELECT FROM noticeboard_migrations WHERE version = :'version_{version}') AS wanted \gset
\if :wanted
\i :file_{version}
INSERT INTO noticeboard_migrations (version, digest) VALUES (:'version_{version}', :'digest_{version}');
\echo applied :file_name_{version}
\endif
"""


def main() -> None:
    values = settings.read(["DATABASE_URL"])
    files = sorted(FOLDER.glob("*.sql"))
    parameters, script = {}, RECORD
    digests = {}
    for file in files:
        number = re.match(r"(\d{4})_", file.name)
        if number is None:
            sys.exit(f"error: {file.name} does not begin with four digits and an underscore")
        version = str(int(number[1]))
        digests[version] = hashlib.sha256(file.read_bytes()).hexdigest()
        parameters |= {
            f"version_{version}": version,
            f"digest_{version}": digests[version],
            f"file_{version}": str(file),
            f"file_name_{version}": file.name,
        }
        script += APPLY.format(version=version)
    try:
        database = Database(values["DATABASE_URL"])
        printed = database.run(script, parameters, timeout=240)
        applied = database.value(APPLIED)
    except DatabaseError as error:
        sys.exit(f"error: the migration failed and left nothing behind: {error}")
    changed = [version for version, digest in applied.items() if digests.get(version, digest) != digest]
    if changed:
        sys.exit(f"error: changed after they had been applied: {', '.join(changed)}; write new migrations instead")
    print(printed.strip() or "nothing to apply")


if __name__ == "__main__":
    main()
