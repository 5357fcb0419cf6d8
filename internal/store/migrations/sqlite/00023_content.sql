-- +goose Up
-- What a message holds beside its text and its file, as JSON; '': nothing.
ALTER TABLE messages ADD COLUMN content TEXT NOT NULL DEFAULT '';

-- Questions that only the owner of a session can answer, WhatsApp being who knows. They are kept for an hour.
CREATE TABLE queries (
    id          TEXT NOT NULL PRIMARY KEY,
    tenant_key  INTEGER NOT NULL REFERENCES tenants,
    kind        TEXT NOT NULL,
    question    TEXT NOT NULL,
    answer      TEXT NOT NULL DEFAULT '',
    code        TEXT NOT NULL DEFAULT '', -- of the refusal, '': answered
    detail      TEXT NOT NULL DEFAULT '',
    created_at  INTEGER NOT NULL,
    answered_at INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX queries_age ON queries (created_at);
CREATE INDEX queries_tenant ON queries (tenant_key, kind, answered_at);
ALTER TABLE commands ADD COLUMN query TEXT NOT NULL DEFAULT '';

-- What WhatsApp said about numbers, so that asking again costs it nothing.
CREATE TABLE number_checks (
    tenant_key INTEGER NOT NULL REFERENCES tenants,
    number     TEXT NOT NULL,
    jid        TEXT NOT NULL, -- '': not on WhatsApp
    checked_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_key, number)
);
CREATE INDEX number_checks_age ON number_checks (tenant_key, checked_at);

-- +goose Down
DROP TABLE number_checks;
ALTER TABLE commands DROP COLUMN query;
DROP TABLE queries;
ALTER TABLE messages DROP COLUMN content;
