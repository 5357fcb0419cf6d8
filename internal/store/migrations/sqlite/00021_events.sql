-- +goose Up
-- Tenants whose own software listens to what happens. Nothing is written for any other.
CREATE TABLE event_streams (
    tenant_key INTEGER NOT NULL PRIMARY KEY REFERENCES tenants,
    since      INTEGER NOT NULL,
    heard_at   INTEGER NOT NULL,           -- when it was last asked for, by the database's clock
    last_pos   INTEGER NOT NULL             -- of events
);

-- What has happened, written in the transaction of the change, until it has its place in events. docs/decisions/0016.
CREATE TABLE event_outbox (
    seq        INTEGER PRIMARY KEY,
    tenant_key INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    subject    TEXT    NOT NULL, -- id of the message or bulk; of what happens to one, the next is told of after the one before
    at         INTEGER NOT NULL,
    detail     TEXT    NOT NULL DEFAULT '',
    code       TEXT    NOT NULL DEFAULT '',
    data       TEXT    NOT NULL DEFAULT ''   -- JSON; '': made from the rest
);
CREATE INDEX event_outbox_tenant ON event_outbox (tenant_key, seq);

CREATE TABLE events (
    tenant_key INTEGER NOT NULL,
    pos        INTEGER NOT NULL, -- from that of event_streams on, without gaps
    id         TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    data       TEXT    NOT NULL, -- JSON
    PRIMARY KEY (tenant_key, pos)
) WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER message_events_told AFTER INSERT ON message_events WHEN EXISTS (SELECT 1 FROM event_streams)
BEGIN
    INSERT INTO event_outbox (tenant_key, kind, subject, at, detail, code)
        SELECT m.tenant_key, 'message.' || NEW.status, m.id, NEW.at, NEW.detail, CASE WHEN m.status = NEW.status THEN m.error_code ELSE '' END
        FROM messages m JOIN event_streams s ON s.tenant_key = m.tenant_key WHERE m.id = NEW.message_id;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER sessions_told AFTER UPDATE OF state ON sessions WHEN OLD.state <> NEW.state
BEGIN
    INSERT INTO event_outbox (tenant_key, kind, subject, at, detail, code)
        SELECT s.tenant_key, 'session.' || NEW.state, 'session', NEW.since, NEW.jid, NEW.reason
        FROM event_streams s WHERE s.tenant_key = NEW.tenant_key;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER bulks_told AFTER UPDATE OF status ON bulks WHEN OLD.status <> NEW.status AND NEW.status <> 'discarding'
BEGIN
    INSERT INTO event_outbox (tenant_key, kind, subject, at, detail, code)
        SELECT s.tenant_key, 'bulk.' || NEW.status, NEW.id, CAST(unixepoch('subsec') * 1000000 AS INTEGER), NEW.name, NEW.reason
        FROM event_streams s WHERE s.tenant_key = NEW.tenant_key;
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER bulks_told;
DROP TRIGGER sessions_told;
DROP TRIGGER message_events_told;
DROP TABLE events;
DROP TABLE event_outbox;
DROP TABLE event_streams;
