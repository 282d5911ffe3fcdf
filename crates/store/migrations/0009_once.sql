-- The jobs that run once in a stack's life and have succeeded: `job.seed`. Written with the end of the operation that ran them, and gone
-- with the stack.
--
-- A release that knows of no such job reads no definition that has one: it doesn't know the key either.

ALTER TABLE stacks ADD COLUMN ran_once text[] NOT NULL DEFAULT '{}' CHECK (cardinality(ran_once) <= 1000);

GRANT UPDATE (ran_once) ON stacks TO freehold_tenant;
