-- Times are microseconds since 1970 UTC, 0 when they have not come. Text that is not there is ''. Text that lists are sorted
-- by has the collation "C", the order of its bytes, whatever the database's own is.

-- +goose Up
CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- A key names queues and rows; the sequence never gives it to another tenant, not even after a deletion.
CREATE TABLE tenants (
    tenant_key BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         TEXT    NOT NULL COLLATE "C",
    name       TEXT    NOT NULL,
    last_seq   BIGINT  NOT NULL DEFAULT 0,
    created_at BIGINT  NOT NULL,
    deleted_at BIGINT  NOT NULL DEFAULT 0 -- set while its rows are being removed
);
CREATE UNIQUE INDEX tenants_id ON tenants (id) WHERE deleted_at = 0;

-- tenant_key NULL: an admin key.
CREATE TABLE api_keys (
    id          TEXT    NOT NULL COLLATE "C" PRIMARY KEY,
    tenant_key  BIGINT  REFERENCES tenants,
    name        TEXT    NOT NULL,
    scopes      TEXT    NOT NULL, -- separated by a space
    hash        BYTEA   NOT NULL,
    hash_prefix BYTEA   NOT NULL,
    created_at  BIGINT  NOT NULL,
    revoked_at  BIGINT  NOT NULL DEFAULT 0
);
CREATE INDEX api_keys_prefix ON api_keys (hash_prefix) WHERE revoked_at = 0;
CREATE INDEX api_keys_tenant ON api_keys (tenant_key);

-- tenant_key 0: the routes of /admin. status 0: the request is in flight.
CREATE TABLE idempotency (
    tenant_key BIGINT  NOT NULL,
    scope      TEXT    NOT NULL,
    idem_key   TEXT    NOT NULL,
    body_hash  BYTEA   NOT NULL,
    lock_until BIGINT  NOT NULL,
    expires_at BIGINT  NOT NULL,
    status     BIGINT  NOT NULL DEFAULT 0,
    header     TEXT    NOT NULL DEFAULT '',
    body       BYTEA   NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_key, scope, idem_key)
);
CREATE INDEX idempotency_expiry ON idempotency (expires_at);

CREATE TABLE sessions (
    tenant_key         BIGINT NOT NULL PRIMARY KEY REFERENCES tenants,
    state              TEXT    NOT NULL,
    reason             TEXT    NOT NULL,
    jid                TEXT    NOT NULL DEFAULT '',
    lid                TEXT    NOT NULL DEFAULT '',
    since              BIGINT  NOT NULL,
    restriction_kind   TEXT    NOT NULL DEFAULT '',
    restriction_until  BIGINT  NOT NULL DEFAULT 0,
    restriction_count  BIGINT  NOT NULL DEFAULT 0,
    pairing_code       TEXT    NOT NULL DEFAULT '',
    pairing_expires_at BIGINT  NOT NULL DEFAULT 0,
    owner              TEXT    NOT NULL DEFAULT '',
    epoch              BIGINT  NOT NULL DEFAULT 0,
    lease_until        BIGINT  NOT NULL DEFAULT 0
);

CREATE TABLE commands (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_key BIGINT  NOT NULL REFERENCES tenants,
    kind       TEXT    NOT NULL,
    created_at BIGINT  NOT NULL
);
CREATE INDEX commands_tenant ON commands (tenant_key);

CREATE TABLE messages (
    id              TEXT    NOT NULL COLLATE "C" PRIMARY KEY,
    tenant_key      BIGINT  NOT NULL REFERENCES tenants,
    seq             BIGINT  NOT NULL,
    stanza_id       TEXT    NOT NULL,
    recipient       TEXT    NOT NULL,
    recipient_jid   TEXT    NOT NULL,
    recipient_lid   TEXT    NOT NULL,
    type            TEXT    NOT NULL,
    body            BYTEA   NOT NULL, -- UTF-8; TEXT takes no U+0000
    lane            TEXT    NOT NULL,
    reference       TEXT    NOT NULL,
    bulk_id         TEXT    NOT NULL,
    retry_of        TEXT    NOT NULL,
    media_mimetype  TEXT    NOT NULL, -- '': no media
    media_filename  TEXT    NOT NULL,
    media_size      BIGINT  NOT NULL,
    media_sha256    TEXT    NOT NULL,
    media_voice     BOOLEAN NOT NULL,
    media_seconds   BIGINT  NOT NULL,
    status          TEXT    NOT NULL,
    phase           TEXT    NOT NULL,
    attempts        BIGINT  NOT NULL,
    next_attempt_at BIGINT  NOT NULL,
    uncertain       BOOLEAN NOT NULL,
    deaths          BIGINT  NOT NULL,
    in_flight       TEXT    NOT NULL,
    error_code      TEXT    NOT NULL, -- '': no error
    error_message   TEXT    NOT NULL,
    error_retryable BOOLEAN NOT NULL,
    created_at      BIGINT  NOT NULL,
    send_at         BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL,
    sent_at         BIGINT  NOT NULL,
    delivered_at    BIGINT  NOT NULL,
    read_at         BIGINT  NOT NULL,
    failed_at       BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    delivered_count BIGINT  NOT NULL,
    read_count      BIGINT  NOT NULL
);
CREATE UNIQUE INDEX messages_seq ON messages (tenant_key, seq);
CREATE UNIQUE INDEX messages_stanza ON messages (tenant_key, stanza_id);
-- What there is to do: the oldest of a lane in a phase, what is due, and how much waits.
CREATE INDEX messages_unfinished ON messages (tenant_key, lane, phase, next_attempt_at, seq)
    WHERE status IN ('queued', 'sending');
CREATE INDEX messages_expiry ON messages (expires_at) WHERE status IN ('queued', 'sending');
CREATE INDEX messages_in_flight ON messages (tenant_key, seq) WHERE in_flight <> '';
-- The list of what went wrong, which is a small part.
CREATE INDEX messages_ended ON messages (tenant_key, status, seq) WHERE status IN ('unknown', 'canceled', 'failed', 'expired');
CREATE INDEX messages_recipient ON messages (tenant_key, recipient, seq);
CREATE INDEX messages_bulk ON messages (tenant_key, bulk_id, seq) WHERE bulk_id <> '';
CREATE INDEX messages_reference ON messages (tenant_key, reference, seq) WHERE reference <> '';
-- Whether somebody was written to before.
CREATE INDEX messages_contact ON messages (tenant_key, recipient_jid) WHERE sent_at > 0;

CREATE TABLE message_events (
    message_id TEXT    NOT NULL COLLATE "C" REFERENCES messages ON DELETE CASCADE,
    n          BIGINT  NOT NULL, -- 1, 2, 3 ... within the message
    status     TEXT    NOT NULL,
    at         BIGINT  NOT NULL,
    detail     TEXT    NOT NULL,
    PRIMARY KEY (message_id, n)
);

-- Which member of a group confirmed what: each counts once.
CREATE TABLE message_receipts (
    message_id TEXT    NOT NULL COLLATE "C" REFERENCES messages ON DELETE CASCADE,
    member     TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    at         BIGINT  NOT NULL,
    PRIMARY KEY (message_id, member, kind)
);

-- +goose Down
DROP TABLE message_receipts;
DROP TABLE message_events;
DROP TABLE messages;
DROP TABLE commands;
DROP TABLE sessions;
DROP TABLE idempotency;
DROP TABLE api_keys;
DROP TABLE tenants;
DROP TABLE settings;
