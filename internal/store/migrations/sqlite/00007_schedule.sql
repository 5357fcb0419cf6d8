-- +goose Up
-- What is to be released next.
CREATE INDEX messages_schedule ON messages (send_at, seq) WHERE status = 'scheduled';

-- +goose Down
DROP INDEX messages_schedule;
