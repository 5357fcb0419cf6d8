-- +goose Up
-- Addresses that are told of a tenant's events. The secrets are sealed under the master key.
CREATE TABLE webhook_endpoints (
    id            TEXT NOT NULL COLLATE "C" PRIMARY KEY,
    tenant_key    BIGINT NOT NULL REFERENCES tenants,
    url           TEXT NOT NULL,
    events        TEXT NOT NULL, -- filters, separated by a space
    secret        BYTEA NOT NULL,
    old_secret    BYTEA NOT NULL,
    old_until     BIGINT NOT NULL,
    status        TEXT NOT NULL,
    reason        TEXT NOT NULL,
    since         BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    failures      BIGINT NOT NULL,
    failing_since BIGINT NOT NULL,
    rest_until    BIGINT NOT NULL,
    turn          TEXT NOT NULL DEFAULT '',  -- who delivers to it at the moment
    turn_until    BIGINT NOT NULL DEFAULT 0  -- by the database's clock
);
CREATE INDEX webhook_endpoints_tenant ON webhook_endpoints (tenant_key, id);

-- What each is still to be told of, in the order of the events.
CREATE TABLE webhook_deliveries (
    endpoint_id TEXT NOT NULL COLLATE "C" REFERENCES webhook_endpoints ON DELETE CASCADE,
    pos         BIGINT NOT NULL, -- of the event
    tenant_key  BIGINT NOT NULL,
    subject     TEXT NOT NULL COLLATE "C",
    attempts    BIGINT NOT NULL,
    next_at     BIGINT NOT NULL, -- 0: at once
    PRIMARY KEY (endpoint_id, pos)
);
CREATE INDEX webhook_deliveries_subject ON webhook_deliveries (endpoint_id, subject, pos);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_at);

-- What was posted, and answered.
CREATE TABLE webhook_attempts (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id TEXT NOT NULL COLLATE "C" REFERENCES webhook_endpoints ON DELETE CASCADE,
    event_id    TEXT NOT NULL,
    kind        TEXT NOT NULL,
    attempt     BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    status      BIGINT NOT NULL, -- 0: no answer
    took        BIGINT NOT NULL, -- microseconds
    error       TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    next_at     BIGINT NOT NULL
);
CREATE INDEX webhook_attempts_endpoint ON webhook_attempts (endpoint_id, id);

-- For replays from a time on, and for what is over.
CREATE INDEX events_at ON events (tenant_key, at);

-- +goose Down
DROP INDEX events_at;
DROP TABLE webhook_attempts;
DROP TABLE webhook_deliveries;
DROP TABLE webhook_endpoints;
