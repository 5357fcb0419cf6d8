-- +goose Up
-- When the file of this message was last fetched and found to be what its sender said; 0: never. Only then, and only for a while, may the message be
-- answered with the hub's own file of that hash.
ALTER TABLE inbound_messages ADD COLUMN fetched_at INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE inbound_messages DROP COLUMN fetched_at;
