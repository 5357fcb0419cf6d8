-- +goose Up
-- Who wants nothing from a tenant's bulk sends: E.164 digits, or a JID that has none.
CREATE TABLE opt_outs (
    tenant_key BIGINT NOT NULL REFERENCES tenants,
    recipient  TEXT    NOT NULL COLLATE "C",
    source     TEXT    NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_key, recipient)
);

-- +goose Down
DROP TABLE opt_outs;
