-- The version of each stored document, beside it; and the language of definitions.
--
-- What always holds:
--   * a program that knows nothing of a version writes version 1: the default never changes
--   * a document and its version are written in one statement
-- Which versions a program reads, and what happens to a newer one, is in document.rs.

ALTER TABLE definitions ADD COLUMN language         smallint NOT NULL DEFAULT 1 CHECK (language > 0);

ALTER TABLE stacks      ADD COLUMN request_version  smallint NOT NULL DEFAULT 1 CHECK (request_version > 0),
                        ADD COLUMN outputs_version  smallint NOT NULL DEFAULT 1 CHECK (outputs_version > 0);

ALTER TABLE revisions   ADD COLUMN request_version  smallint NOT NULL DEFAULT 1 CHECK (request_version > 0),
                        ADD COLUMN graph_version    smallint NOT NULL DEFAULT 1 CHECK (graph_version > 0),
                        ADD COLUMN secrets_version  smallint NOT NULL DEFAULT 1 CHECK (secrets_version > 0);

ALTER TABLE plans       ADD COLUMN plan_version     smallint NOT NULL DEFAULT 1 CHECK (plan_version > 0);

ALTER TABLE operations  ADD COLUMN plan_version     smallint NOT NULL DEFAULT 1 CHECK (plan_version > 0),
                        ADD COLUMN outputs_version  smallint NOT NULL DEFAULT 1 CHECK (outputs_version > 0),
                        ADD COLUMN timings_version  smallint NOT NULL DEFAULT 1 CHECK (timings_version > 0),
                        ADD COLUMN failure_version  smallint NOT NULL DEFAULT 1 CHECK (failure_version > 0);

ALTER TABLE resources   ADD COLUMN body_version       smallint NOT NULL DEFAULT 1 CHECK (body_version > 0),
                        ADD COLUMN depends_on_version smallint NOT NULL DEFAULT 1 CHECK (depends_on_version > 0);

ALTER TABLE targets     ADD COLUMN facts_version    smallint NOT NULL DEFAULT 1 CHECK (facts_version > 0),
                        ADD COLUMN settings_version smallint NOT NULL DEFAULT 1 CHECK (settings_version > 0);

ALTER TABLE idempotency ADD COLUMN response_version smallint NOT NULL DEFAULT 1 CHECK (response_version > 0);
ALTER TABLE audit       ADD COLUMN detail_version   smallint NOT NULL DEFAULT 1 CHECK (detail_version > 0);
ALTER TABLE settings    ADD COLUMN value_version    smallint NOT NULL DEFAULT 1 CHECK (value_version > 0);

GRANT UPDATE (request_version, outputs_version) ON stacks TO freehold_tenant;
GRANT UPDATE (outputs_version, timings_version, failure_version) ON operations TO freehold_tenant;
GRANT UPDATE (facts_version, settings_version) ON targets TO freehold_tenant;
GRANT UPDATE (response_version) ON idempotency TO freehold_tenant;
