-- Times are by the database's clock. A worker counts as live until live_until, which each renewal of its leases prolongs.

-- +goose Up
CREATE TABLE workers (
    id         TEXT    NOT NULL PRIMARY KEY, -- sessions.owner
    host       TEXT    NOT NULL,
    pid        INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    live_until INTEGER NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE workers;
