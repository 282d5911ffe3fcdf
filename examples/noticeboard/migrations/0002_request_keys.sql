-- What a client calls its request, so that sending it again writes nothing twice.
ALTER TABLE notices ADD COLUMN request_key text UNIQUE CHECK (char_length(request_key) BETWEEN 1 AND 200);
