-- +goose Up
-- When messages failed. Those that do not fail never touch it.
CREATE INDEX messages_failed ON messages (tenant_key, failed_at) WHERE failed_at <> 0;

-- +goose Down
DROP INDEX messages_failed;
