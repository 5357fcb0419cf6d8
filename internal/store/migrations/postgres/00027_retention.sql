-- +goose Up
-- How many days things are kept; 0: for ever, and events as long as the hub keeps them.
ALTER TABLE tenants ADD COLUMN keep_messages BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN keep_text BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN keep_events BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE tenants DROP COLUMN keep_events;
ALTER TABLE tenants DROP COLUMN keep_text;
ALTER TABLE tenants DROP COLUMN keep_messages;
