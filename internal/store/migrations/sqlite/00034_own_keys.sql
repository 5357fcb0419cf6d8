-- +goose Up
-- The key that made this one in its own place; '': the operator did. What revokes the one revokes the other.
ALTER TABLE api_keys ADD COLUMN made_by TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE api_keys DROP COLUMN made_by;
