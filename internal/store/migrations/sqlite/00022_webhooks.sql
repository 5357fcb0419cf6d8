-- +goose Up
-- Addresses that are told of a tenant's events. The secrets are sealed under the master key.
CREATE TABLE webhook_endpoints (
    id            TEXT NOT NULL PRIMARY KEY,
    tenant_key    INTEGER NOT NULL REFERENCES tenants,
    url           TEXT NOT NULL,
    events        TEXT NOT NULL, -- filters, separated by a space
    secret        BLOB NOT NULL,
    old_secret    BLOB NOT NULL,
    old_until     INTEGER NOT NULL,
    status        TEXT NOT NULL,
    reason        TEXT NOT NULL,
    since         INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    failing_since INTEGER NOT NULL,
    rest_until    INTEGER NOT NULL,
    turn          TEXT NOT NULL DEFAULT '',  -- who delivers to it at the moment
    turn_until    INTEGER NOT NULL DEFAULT 0  -- by the database's clock
);
CREATE INDEX webhook_endpoints_tenant ON webhook_endpoints (tenant_key, id);

-- What each is still to be told of, in the order of the events.
CREATE TABLE webhook_deliveries (
    endpoint_id TEXT NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    pos         INTEGER NOT NULL, -- of the event
    tenant_key  INTEGER NOT NULL,
    subject     TEXT NOT NULL,
    attempts    INTEGER NOT NULL,
    next_at     INTEGER NOT NULL, -- 0: at once
    PRIMARY KEY (endpoint_id, pos)
) WITHOUT ROWID;
CREATE INDEX webhook_deliveries_subject ON webhook_deliveries (endpoint_id, subject, pos);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_at);

-- What was posted, and answered.
CREATE TABLE webhook_attempts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint_id TEXT NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    event_id    TEXT NOT NULL,
    kind        TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    status      INTEGER NOT NULL, -- 0: no answer
    took        INTEGER NOT NULL, -- microseconds
    error       TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    next_at     INTEGER NOT NULL
);
CREATE INDEX webhook_attempts_endpoint ON webhook_attempts (endpoint_id, id);

-- For replays from a time on, and for what is over.
CREATE INDEX events_at ON events (tenant_key, at);

-- +goose Down
DROP INDEX events_at;
DROP TABLE webhook_attempts;
DROP TABLE webhook_deliveries;
DROP TABLE webhook_endpoints;
