-- +goose Up
-- A key that is being replaced ends at a time of its own; 0: it does not.
ALTER TABLE api_keys ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
-- What was called session covers all that is managed.
UPDATE api_keys SET scopes = replace(scopes, 'session', 'manage');
-- Requests a second and messages that wait; 0: what the hub is set to.
ALTER TABLE tenants ADD COLUMN rate_limit INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN queue_limit INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE tenants DROP COLUMN queue_limit;
ALTER TABLE tenants DROP COLUMN rate_limit;
UPDATE api_keys SET scopes = replace(scopes, 'manage', 'session');
ALTER TABLE api_keys DROP COLUMN expires_at;
