package database

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// MaxKeys is how many keys there may be.
const MaxKeys = 1000

// Errors of PutKey.
var (
	ErrTaken = errors.New("the name is taken")
	ErrFull  = errors.New("there are as many as there may be")
)

// Key is a key of the API. The secret itself is not in the database.
type Key struct {
	ID       string
	Name     string
	Hash     []byte // SHA-256 of the secret
	Scopes   []string
	Created  time.Time
	Expires  time.Time // zero: never
	Used     time.Time // zero: not yet
	UsedFrom string
}

// Keys returns all keys in the order of their names.
func (d *Database) Keys(ctx context.Context) ([]Key, error) {
	rows, err := d.db.QueryContext(ctx, "SELECT id, name, hash, scopes, created, expires, used, used_from FROM api_key ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Key
	for rows.Next() {
		var k Key
		var scopes string
		var created, expires, used sql.NullInt64
		if err := rows.Scan(&k.ID, &k.Name, &k.Hash, &scopes, &created, &expires, &used, &k.UsedFrom); err != nil {
			return nil, err
		}
		k.Scopes = strings.Fields(scopes)
		k.Created, k.Expires, k.Used = timeOf(created), timeOf(expires), timeOf(used)
		out = append(out, k)
	}
	return out, rows.Err()
}

// AddKey adds a key. Errors: ErrTaken, ErrFull.
func (d *Database) AddKey(ctx context.Context, k Key) error {
	return d.change(ctx, func(tx *sql.Tx) error {
		var all, same int
		if err := tx.QueryRowContext(ctx, "SELECT count(*), count(*) FILTER (WHERE name = ?) FROM api_key", k.Name).Scan(&all, &same); err != nil {
			return err
		}
		switch {
		case same > 0:
			return ErrTaken
		case all >= MaxKeys:
			return ErrFull
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO api_key (id, name, hash, scopes, created, expires) VALUES (?, ?, ?, ?, ?, ?)",
			k.ID, k.Name, k.Hash, strings.Join(k.Scopes, " "), at(k.Created), at(k.Expires))
		return err
	})
}

// DeleteKey removes a key, or returns ErrNotFound.
func (d *Database) DeleteKey(ctx context.Context, id string) error {
	return one(d.db.ExecContext(ctx, "DELETE FROM api_key WHERE id = ?", id))
}

// KeyUsed notes when a key was last used, and from where.
func (d *Database) KeyUsed(ctx context.Context, id string, when time.Time, from string) error {
	_, err := d.db.ExecContext(ctx, "UPDATE api_key SET used = ?, used_from = ? WHERE id = ?", at(when), from, id)
	return err
}
