-- +goose Up
-- As on Postgres, for the statements to be the same: the phase, not the status, tells what is unfinished. docs/decisions/0014.
ALTER TABLE messages ADD COLUMN ended TEXT
    GENERATED ALWAYS AS (CASE WHEN status IN ('unknown', 'canceled', 'failed', 'expired') THEN status ELSE '' END) VIRTUAL;

DROP INDEX messages_unfinished;
CREATE INDEX messages_unfinished ON messages (tenant_key, lane, phase, next_attempt_at, seq)
    WHERE phase NOT IN ('', 'schedule');
DROP INDEX messages_expiry;
CREATE INDEX messages_expiry ON messages (expires_at) WHERE phase NOT IN ('', 'schedule') AND in_flight = '';
DROP INDEX messages_ended;
CREATE INDEX messages_ended ON messages (tenant_key, ended, seq) WHERE ended <> '';
DROP INDEX messages_schedule;
CREATE INDEX messages_schedule ON messages (send_at, seq) WHERE phase = 'schedule';
DROP INDEX messages_scheduled;
CREATE INDEX messages_scheduled ON messages (tenant_key, seq) WHERE phase = 'schedule';

-- +goose Down
DROP INDEX messages_scheduled;
CREATE INDEX messages_scheduled ON messages (tenant_key, seq) WHERE status = 'scheduled';
DROP INDEX messages_schedule;
CREATE INDEX messages_schedule ON messages (send_at, seq) WHERE status = 'scheduled';
DROP INDEX messages_ended;
CREATE INDEX messages_ended ON messages (tenant_key, status, seq) WHERE status IN ('unknown', 'canceled', 'failed', 'expired');
DROP INDEX messages_expiry;
CREATE INDEX messages_expiry ON messages (expires_at) WHERE status IN ('queued', 'sending');
DROP INDEX messages_unfinished;
CREATE INDEX messages_unfinished ON messages (tenant_key, lane, phase, next_attempt_at, seq)
    WHERE status IN ('queued', 'sending');
ALTER TABLE messages DROP COLUMN ended;
