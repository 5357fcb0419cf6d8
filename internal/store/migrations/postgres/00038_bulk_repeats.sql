-- +goose Up
-- What repeats a message, of which there are few.
CREATE INDEX messages_retry ON messages (tenant_key, retry_of) WHERE retry_of <> '';
-- When a bulk was resumed the last time; 0: never, or before there was this column. Results of before then were judged.
ALTER TABLE bulks ADD COLUMN judge_since BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE bulks DROP COLUMN judge_since;
DROP INDEX messages_retry;
