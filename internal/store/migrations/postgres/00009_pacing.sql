-- +goose Up
-- What the tenant chose of its pacing, as JSON; '': nothing.
ALTER TABLE tenants ADD COLUMN pacing TEXT NOT NULL DEFAULT '';
-- Nobody had written to the recipient before.
ALTER TABLE messages ADD COLUMN first_contact BOOLEAN NOT NULL DEFAULT FALSE;
-- How much was sent lately.
CREATE INDEX messages_sent ON messages (tenant_key, sent_at) WHERE sent_at <> 0;
CREATE INDEX messages_first_contact ON messages (tenant_key, sent_at) WHERE first_contact;

-- +goose Down
DROP INDEX messages_first_contact;
DROP INDEX messages_sent;
ALTER TABLE messages DROP COLUMN first_contact;
ALTER TABLE tenants DROP COLUMN pacing;
