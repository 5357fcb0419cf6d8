-- +goose Up
-- A send to many. Its messages have its id from the start; while it is staging or discarding they are there for nobody.
CREATE TABLE bulks (
    id               TEXT    NOT NULL PRIMARY KEY,
    tenant_key       INTEGER NOT NULL REFERENCES tenants,
    name             TEXT    NOT NULL,
    status           TEXT    NOT NULL,
    reason           TEXT    NOT NULL,
    lane             TEXT    NOT NULL,
    retry_of         TEXT    NOT NULL,
    first_seq        INTEGER NOT NULL, -- of the message of row 1
    row_count        INTEGER NOT NULL,
    total            INTEGER NOT NULL,
    invalid          INTEGER NOT NULL,
    max_failure_rate REAL    NOT NULL,
    judge_from       INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    started_at       INTEGER NOT NULL,
    finished_at      INTEGER NOT NULL,
    touched_at       INTEGER NOT NULL -- by the database's clock; while it is staging its maker touches it with each step
);
CREATE INDEX bulks_tenant ON bulks (tenant_key, id);
CREATE INDEX bulks_open ON bulks (tenant_key, status) WHERE finished_at = 0;
CREATE TABLE bulk_invalid (
    bulk_id    TEXT    NOT NULL REFERENCES bulks ON DELETE CASCADE,
    row_number INTEGER NOT NULL,
    recipient  TEXT    NOT NULL,
    code       TEXT    NOT NULL,
    PRIMARY KEY (bulk_id, row_number)
) WITHOUT ROWID;
-- How many of a bulk are where, and what comes next of it.
CREATE INDEX messages_bulk_status ON messages (tenant_key, bulk_id, status, phase, seq) WHERE bulk_id <> '';

-- +goose Down
DROP INDEX messages_bulk_status;
DROP TABLE bulk_invalid;
DROP TABLE bulks;
