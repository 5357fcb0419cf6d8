-- +goose Up
-- The other name of the same person, when a stop word entered both (the number and the LID); ''. Who takes one off takes the other off too.
ALTER TABLE opt_outs ADD COLUMN other TEXT NOT NULL DEFAULT '';

-- Up to this place, events may have been removed. The places of events have gaps from now on: docs/decisions/0027.
ALTER TABLE event_streams ADD COLUMN forgotten_pos INTEGER NOT NULL DEFAULT 0;
UPDATE event_streams SET forgotten_pos = COALESCE((SELECT MIN(e.pos) - 1 FROM events e WHERE e.tenant_key = event_streams.tenant_key), last_pos);

-- +goose Down
ALTER TABLE event_streams DROP COLUMN forgotten_pos;
ALTER TABLE opt_outs DROP COLUMN other;
