-- +goose Up
-- What media messages went out as, for phones that ask for them again.
CREATE TABLE sent_contents (
    tenant_key INTEGER NOT NULL,
    stanza_id  TEXT    NOT NULL,
    content    BLOB    NOT NULL,
    kept_at    INTEGER NOT NULL, -- by the last attempt
    PRIMARY KEY (tenant_key, stanza_id)
);
CREATE INDEX sent_contents_kept ON sent_contents (kept_at);

-- A row for each file of the blob store, committed before the file has its name.
CREATE TABLE blobs (
    sha256     TEXT    NOT NULL PRIMARY KEY,
    size       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL -- stored, or named by a new message
) WITHOUT ROWID;
CREATE INDEX messages_media ON messages (media_sha256) WHERE media_sha256 <> '';

INSERT INTO blobs (sha256, size, created_at, used_at)
    SELECT media_sha256, MAX(media_size), MIN(created_at), MAX(created_at) FROM messages WHERE media_sha256 <> '' GROUP BY media_sha256;

-- +goose Down
DROP INDEX messages_media;
DROP TABLE blobs;
DROP TABLE sent_contents;
