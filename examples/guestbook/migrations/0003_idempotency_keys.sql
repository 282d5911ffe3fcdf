-- What a client calls its request, so that sending it again writes nothing twice.
ALTER TABLE entries ADD COLUMN idempotency_key text UNIQUE CHECK (char_length(idempotency_key) BETWEEN 1 AND 200);
