-- +goose Up
CREATE TABLE api_key (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    hash      BLOB NOT NULL,           -- SHA-256 of the secret part
    scopes    TEXT NOT NULL,           -- one space apart
    created   INTEGER NOT NULL,        -- all times: microseconds since 1970
    expires   INTEGER,                 -- NULL: never
    used      INTEGER,                 -- NULL: not yet
    used_from TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE audit (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    who       TEXT NOT NULL,
    origin    TEXT NOT NULL,
    operation TEXT NOT NULL,
    target    TEXT NOT NULL,
    before    TEXT,                    -- JSON
    after     TEXT                     -- JSON
) STRICT;
CREATE INDEX audit_at ON audit (at);

-- What the configuration files said when they were last read.
CREATE TABLE configuration (
    name     TEXT PRIMARY KEY,
    document TEXT NOT NULL             -- JSON
) STRICT;

-- +goose Down
DROP TABLE configuration;
DROP TABLE audit;
DROP TABLE api_key;
