-- +goose Up
ALTER TABLE sessions ADD COLUMN pairing_phone TEXT NOT NULL DEFAULT '';
ALTER TABLE commands ADD COLUMN phone TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE commands DROP COLUMN phone;
ALTER TABLE sessions DROP COLUMN pairing_phone;
