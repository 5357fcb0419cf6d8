-- +goose Up
-- What a tenant has scheduled.
CREATE INDEX messages_scheduled ON messages (tenant_key, seq) WHERE status = 'scheduled';

-- +goose Down
DROP INDEX messages_scheduled;
