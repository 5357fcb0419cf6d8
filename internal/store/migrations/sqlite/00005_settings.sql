-- +goose Up
-- What the tenant may choose; seconds, 0: the hub's default.
ALTER TABLE tenants ADD COLUMN hold_unknown BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE tenants ADD COLUMN expiry_high INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN expiry_normal INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN expiry_bulk INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN restriction_code TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN restriction_suspect TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN last_number TEXT NOT NULL DEFAULT '';
-- Written by the API as well as by the session's owner; a claim looks at them.
ALTER TABLE sessions ADD COLUMN queue_paused BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE sessions ADD COLUMN queue_held BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Down
ALTER TABLE sessions DROP COLUMN queue_held;
ALTER TABLE sessions DROP COLUMN queue_paused;
ALTER TABLE sessions DROP COLUMN last_number;
ALTER TABLE sessions DROP COLUMN restriction_suspect;
ALTER TABLE sessions DROP COLUMN restriction_code;
ALTER TABLE tenants DROP COLUMN expiry_bulk;
ALTER TABLE tenants DROP COLUMN expiry_normal;
ALTER TABLE tenants DROP COLUMN expiry_high;
ALTER TABLE tenants DROP COLUMN hold_unknown;
