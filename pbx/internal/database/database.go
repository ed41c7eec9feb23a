// Package database keeps what must last and is asked for in many ways: the keys of the API and the audit. It is one SQLite file with a
// write-ahead log; what a method that changes something returned from is on disk (synchronous=FULL) and outlives the machine.
//
// The statements are plain SQL. Its layout is made, and brought to the newest version, by the numbered files in migrations; a file that a
// newer version of the program has written is not touched.
package database

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ErrNotFound says that there is no such row.
var ErrNotFound = errors.New("not in the database")

// connections is how many statements run at a time; SQLite lets one of them write.
const connections = 4

// Database is an open database. All methods may be called from any goroutine.
type Database struct {
	db   *sql.DB
	path string
}

// Open opens the database at path, made with mode 0600 if need be, and brings its layout to the newest version.
func Open(ctx context.Context, path string) (_ *Database, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("database %s: %w", path, err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would make it readable; its other files take after it
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	options := url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "foreign_keys(1)", "trusted_schema(0)"},
		"_txlock": {"immediate"},
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: options.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	if err := migrate(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Database{db: db, path: path}, nil
}

// migrate brings the layout to the newest version.
func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		return err
	}
	has, err := p.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	sources := p.ListSources()
	if newest := sources[len(sources)-1].Version; has > newest {
		return fmt.Errorf("its layout is number %d, this program knows those up to %d: it was written by a newer version; run that one, or restore a backup", has, newest)
	}
	_, err = p.Up(ctx)
	return err
}

// Close closes the database.
func (d *Database) Close() error { return d.db.Close() }

// Backup writes a copy of the database, as it is at one moment, to a new file of mode 0600. It may be in use meanwhile.
func (d *Database) Backup(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := d.db.ExecContext(ctx, "VACUUM INTO ?", path); err != nil {
		return errors.Join(fmt.Errorf("backing up to %s: %w", path, err), os.Remove(path))
	}
	return f.Sync()
}

// change runs what changes the database as one transaction.
func (d *Database) change(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// one is nil if a statement met a row.
func one(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// at is a time as the database has it; NULL: none.
func at(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

func timeOf(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.UnixMicro(n.Int64).UTC()
}
