-- +goose Up
-- Browsers that signed in with a key; they lose their session with it.
CREATE TABLE web_sessions (
    token_hash BYTEA NOT NULL PRIMARY KEY, -- of the cookie
    key_id     TEXT COLLATE "C" NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    opened_at  BIGINT NOT NULL,
    expires_at BIGINT NOT NULL -- moves with use
);
CREATE INDEX web_sessions_key ON web_sessions (key_id, expires_at);
CREATE INDEX web_sessions_expiry ON web_sessions (expires_at);

-- +goose Down
DROP TABLE web_sessions;
