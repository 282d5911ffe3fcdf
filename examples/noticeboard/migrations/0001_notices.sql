CREATE TABLE notices (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title        text NOT NULL CHECK (char_length(title) BETWEEN 1 AND 120),
    body         text NOT NULL CHECK (char_length(body) BETWEEN 1 AND 4000),
    created_at   timestamptz NOT NULL DEFAULT now(),
    -- Set by the worker.
    published_at timestamptz
);

-- The worker's queue, and no more than that.
CREATE INDEX notices_queued ON notices (id) WHERE published_at IS NULL;
CREATE INDEX notices_published ON notices (published_at DESC) WHERE published_at IS NOT NULL;
