-- +goose Up
-- Nothing of it goes out before.
ALTER TABLE bulks ADD COLUMN send_at BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE bulks DROP COLUMN send_at;
