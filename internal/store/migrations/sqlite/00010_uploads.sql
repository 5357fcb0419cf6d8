-- +goose Up
-- Files that WhatsApp's media servers have, to be sent again without another upload.
CREATE TABLE uploads (
    tenant_key  INTEGER NOT NULL,
    sha256      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    url         TEXT NOT NULL,
    direct_path TEXT NOT NULL,
    media_key   BLOB NOT NULL,
    enc_sha256  BLOB NOT NULL,
    size        INTEGER NOT NULL,
    uploaded_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_key, sha256, kind)
);
CREATE INDEX uploads_age ON uploads (uploaded_at);

-- +goose Down
DROP TABLE uploads;
