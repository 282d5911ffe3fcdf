-- The files that a definition names, beside its source: path → text. The definition's hash is of both; without files it is that of the
-- source alone, as before.
--
-- A release that knows of no files writes none, and reads no definition that names one: it doesn't know the key either.

ALTER TABLE definitions ADD COLUMN files         json     NOT NULL DEFAULT '{}',
                        ADD COLUMN files_version smallint NOT NULL DEFAULT 1 CHECK (files_version > 0);
