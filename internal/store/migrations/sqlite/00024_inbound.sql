-- +goose Up
-- What a number has received. A stanza id of one chat and sender is one message, however often it arrives.
CREATE TABLE inbound_messages (
    id           TEXT NOT NULL PRIMARY KEY,
    tenant_key   INTEGER NOT NULL REFERENCES tenants,
    stanza_id    TEXT NOT NULL,
    chat         TEXT NOT NULL,
    sender       TEXT NOT NULL,
    sender_alt   TEXT NOT NULL,
    number       TEXT NOT NULL, -- of the sender, '': not known
    push_name    BLOB NOT NULL, -- UTF-8; TEXT takes no U+0000
    type         TEXT NOT NULL,
    body         BLOB NOT NULL,
    content      TEXT NOT NULL, -- JSON of media, location, contacts and mentions; '': none
    refers_to    TEXT NOT NULL,
    refers_to_id TEXT NOT NULL,
    opt_out      TEXT NOT NULL,
    at           INTEGER NOT NULL,
    received_at  INTEGER NOT NULL
);
CREATE UNIQUE INDEX inbound_stanza ON inbound_messages (tenant_key, chat, stanza_id, sender);
CREATE INDEX inbound_tenant ON inbound_messages (tenant_key, id);
CREATE INDEX inbound_number ON inbound_messages (tenant_key, number, id);

ALTER TABLE tenants ADD COLUMN words TEXT NOT NULL DEFAULT ''; -- JSON, '': the defaults

-- +goose Down
ALTER TABLE tenants DROP COLUMN words;
DROP TABLE inbound_messages;
