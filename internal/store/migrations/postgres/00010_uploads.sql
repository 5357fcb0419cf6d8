-- +goose Up
-- Files that WhatsApp's media servers have, to be sent again without another upload.
CREATE TABLE uploads (
    tenant_key  BIGINT NOT NULL,
    sha256      TEXT COLLATE "C" NOT NULL,
    kind        TEXT NOT NULL,
    url         TEXT NOT NULL,
    direct_path TEXT NOT NULL,
    media_key   BYTEA NOT NULL,
    enc_sha256  BYTEA NOT NULL,
    size        BIGINT NOT NULL,
    uploaded_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_key, sha256, kind)
);
CREATE INDEX uploads_age ON uploads (uploaded_at);

-- +goose Down
DROP TABLE uploads;
