-- The guestbook itself.
CREATE TABLE entries (
    id         bigint PRIMARY KEY,
    author     text NOT NULL CHECK (char_length(author) BETWEEN 1 AND 60),
    message    text NOT NULL CHECK (char_length(message) BETWEEN 1 AND 1000),
    -- A digest of the session that wrote it (pgcrypto): enough to count visitors, not enough to follow one.
    visitor    bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE SEQUENCE entry_ids OWNED BY entries.id;
CREATE INDEX entries_created_at ON entries (created_at);
