-- +goose Up
-- Tenants whose own software listens to what happens. Nothing is written for any other.
CREATE TABLE event_streams (
    tenant_key BIGINT NOT NULL PRIMARY KEY REFERENCES tenants,
    since      BIGINT NOT NULL,
    heard_at   BIGINT NOT NULL,           -- when it was last asked for, by the database's clock
    last_pos   BIGINT NOT NULL             -- of events
);

-- What has happened, written in the transaction of the change, until it has its place in events. docs/decisions/0016.
CREATE TABLE event_outbox (
    seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_key BIGINT NOT NULL,
    kind       TEXT   NOT NULL COLLATE "C",
    subject    TEXT   NOT NULL COLLATE "C", -- id of the message or bulk; of what happens to one, the next is told of after the one before
    at         BIGINT NOT NULL,
    detail     TEXT   NOT NULL DEFAULT '',
    code       TEXT   NOT NULL DEFAULT '',
    data       TEXT   NOT NULL DEFAULT ''   -- JSON; '': made from the rest
);
CREATE INDEX event_outbox_tenant ON event_outbox (tenant_key, seq);

CREATE TABLE events (
    tenant_key BIGINT NOT NULL,
    pos        BIGINT NOT NULL, -- from that of event_streams on, without gaps
    id         TEXT   NOT NULL,
    kind       TEXT   NOT NULL COLLATE "C",
    subject    TEXT   NOT NULL COLLATE "C",
    at         BIGINT NOT NULL,
    data       TEXT   NOT NULL, -- JSON
    PRIMARY KEY (tenant_key, pos)
);

-- +goose StatementBegin
CREATE FUNCTION tell_of_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM event_streams) THEN
        INSERT INTO event_outbox (tenant_key, kind, subject, at, detail, code)
            SELECT m.tenant_key, 'message.' || e.status, e.message_id, e.at, e.detail, CASE WHEN m.status = e.status THEN m.error_code ELSE '' END
            FROM fresh e JOIN messages m ON m.id = e.message_id JOIN event_streams s ON s.tenant_key = m.tenant_key
            ORDER BY e.message_id, e.n;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER message_events_told AFTER INSERT ON message_events REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_messages();

-- +goose StatementBegin
CREATE FUNCTION tell_of_a_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_outbox (tenant_key, kind, subject, at, detail, code)
        SELECT s.tenant_key, 'session.' || NEW.state, 'session', NEW.since, NEW.jid, NEW.reason
        FROM event_streams s WHERE s.tenant_key = NEW.tenant_key;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER sessions_told AFTER UPDATE OF state ON sessions
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION tell_of_a_session();

-- +goose StatementBegin
CREATE FUNCTION tell_of_a_bulk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_outbox (tenant_key, kind, subject, at, detail, code)
        SELECT s.tenant_key, 'bulk.' || NEW.status, NEW.id, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT), NEW.name, NEW.reason
        FROM event_streams s WHERE s.tenant_key = NEW.tenant_key;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER bulks_told AFTER UPDATE OF status ON bulks
    FOR EACH ROW WHEN (OLD.status <> NEW.status AND NEW.status <> 'discarding') EXECUTE FUNCTION tell_of_a_bulk();

-- +goose Down
DROP TRIGGER bulks_told ON bulks;
DROP TRIGGER sessions_told ON sessions;
DROP TRIGGER message_events_told ON message_events;
DROP FUNCTION tell_of_a_bulk;
DROP FUNCTION tell_of_a_session;
DROP FUNCTION tell_of_messages;
DROP TABLE events;
DROP TABLE event_outbox;
DROP TABLE event_streams;
