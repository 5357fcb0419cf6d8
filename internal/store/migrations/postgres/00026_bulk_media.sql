-- +goose Up
-- The file that a bulk names by its URL, once it was fetched: every message of the bulk goes out with this one.
CREATE TABLE bulk_media (
    bulk_id  TEXT    NOT NULL PRIMARY KEY REFERENCES bulks ON DELETE CASCADE,
    mimetype TEXT    NOT NULL,
    filename TEXT    NOT NULL,
    size     BIGINT NOT NULL,
    sha256   TEXT    NOT NULL,
    voice    BOOLEAN NOT NULL,
    seconds  BIGINT NOT NULL
);

-- +goose Down
DROP TABLE bulk_media;
