-- +goose Up
-- A webhook that takes again what it is told: what waits for another attempt, from this place on, is still to be made due; 0: nothing is.
ALTER TABLE webhook_endpoints ADD COLUMN wake_from BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE webhook_endpoints DROP COLUMN wake_from;
