-- +goose Up
-- When a webhook failed last; 0: not known.
ALTER TABLE webhook_endpoints ADD COLUMN failed_at INTEGER NOT NULL DEFAULT 0;

-- A replay may have left deliveries of events that were removed at the same time; they would hold up those behind them for ever.
DELETE FROM webhook_deliveries WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.tenant_key = webhook_deliveries.tenant_key AND e.pos = webhook_deliveries.pos);

-- +goose Down
-- What is left of these would be shown as webhooks.
DELETE FROM webhook_endpoints WHERE status = 'deleted';
ALTER TABLE webhook_endpoints DROP COLUMN failed_at;
