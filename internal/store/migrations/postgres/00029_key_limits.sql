-- +goose Up
-- Requests a second of this key; 0: as many as its tenant.
ALTER TABLE api_keys ADD COLUMN rate_limit BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE api_keys DROP COLUMN rate_limit;
