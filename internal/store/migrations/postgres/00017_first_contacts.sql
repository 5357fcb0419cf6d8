-- +goose Up
-- What was sent before a cap of first contacts was switched on counts as well, so they are looked for among all that was sent: by messages_sent.
DROP INDEX messages_first_contact;

-- +goose Down
CREATE INDEX messages_first_contact ON messages (tenant_key, sent_at) WHERE first_contact;
