-- +goose Up
-- The key that made this one in its own place; '': the operator did. What revokes the one revokes the other.
ALTER TABLE api_keys ADD COLUMN made_by TEXT NOT NULL DEFAULT '';
CREATE INDEX api_keys_made_by ON api_keys (made_by) WHERE made_by <> '';

-- +goose Down
DROP INDEX api_keys_made_by;
ALTER TABLE api_keys DROP COLUMN made_by;
