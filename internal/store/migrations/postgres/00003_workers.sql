-- Times are by the database's clock. A worker counts as live until live_until, which each renewal of its leases prolongs.

-- +goose Up
CREATE TABLE workers (
    id         TEXT   NOT NULL COLLATE "C" PRIMARY KEY, -- sessions.owner
    host       TEXT   NOT NULL,
    pid        BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    live_until BIGINT NOT NULL
);

-- +goose Down
DROP TABLE workers;
