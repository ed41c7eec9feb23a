package database

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"brickhouse/shared/control"
)

// maxShown bounds what of a thing before and after a change is kept, in bytes.
const maxShown = 64 << 10

// tooLong stands in the place of what is longer.
const tooLong = `{"omitted":"too long"}`

// Entry is a change in the audit.
type Entry struct {
	ID int64 `json:"id" doc:"Higher for what was noted later."`
	control.Change
}

// Query says which entries are asked for.
type Query struct {
	Since  time.Time // zero: from the first on
	Below  int64     // those with a lower ID; 0: all
	Who    string    // empty: anybody
	Target string    // beginning of the path; empty: any
	Limit  int       // at most so many, the newest first
}

// Note adds a change to the audit.
func (d *Database) Note(ctx context.Context, c control.Change) error {
	return d.change(ctx, func(tx *sql.Tx) error { return note(ctx, tx, c) })
}

func note(ctx context.Context, tx *sql.Tx, c control.Change) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO audit (at, who, origin, operation, target, before, after) VALUES (?, ?, ?, ?, ?, ?, ?)",
		at(c.At), c.Who, c.From, c.Operation, c.Target, shown(c.Before), shown(c.After))
	return err
}

func shown(doc json.RawMessage) sql.NullString {
	if len(doc) > maxShown {
		doc = json.RawMessage(tooLong)
	}
	return sql.NullString{String: string(doc), Valid: doc != nil}
}

// Audit returns entries of the audit, the newest first.
func (d *Database) Audit(ctx context.Context, q Query) ([]Entry, error) {
	rows, err := d.db.QueryContext(ctx, `SELECT id, at, who, origin, operation, target, before, after FROM audit
		WHERE at >= ?1 AND (?2 = 0 OR id < ?2) AND (?3 = '' OR who = ?3) AND substr(target, 1, length(?4)) = ?4
		ORDER BY id DESC LIMIT ?5`, max(0, q.Since.UnixMicro()), q.Below, q.Who, q.Target, q.Limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []Entry{}
	for rows.Next() {
		var e Entry
		var when sql.NullInt64
		var before, after sql.NullString
		if err := rows.Scan(&e.ID, &when, &e.Who, &e.From, &e.Operation, &e.Target, &before, &after); err != nil {
			return nil, err
		}
		e.At, e.Before, e.After = timeOf(when), document(before), document(after)
		out = append(out, e)
	}
	return out, rows.Err()
}

func document(s sql.NullString) json.RawMessage {
	if !s.Valid {
		return nil
	}
	return json.RawMessage(s.String)
}

// ForgetAudit removes the entries from before a moment, and returns how many.
func (d *Database) ForgetAudit(ctx context.Context, before time.Time) (int64, error) {
	res, err := d.db.ExecContext(ctx, "DELETE FROM audit WHERE at < ?", at(before))
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// NoteFile notes what a configuration file says, if that is another thing than it said last: c then becomes an entry of the audit, with what
// differs as its before and after. The first reading of a file is no change.
func (d *Database) NoteFile(ctx context.Context, name string, doc json.RawMessage, c control.Change) error {
	return d.change(ctx, func(tx *sql.Tx) error {
		var old string
		err := tx.QueryRowContext(ctx, "SELECT document FROM configuration WHERE name = ?", name).Scan(&old)
		switch {
		case err == nil && old == string(doc):
			return nil
		case err == nil:
			if c.Before, c.After, err = difference(json.RawMessage(old), doc); err != nil {
				return err
			}
			if err := note(ctx, tx, c); err != nil {
				return err
			}
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO configuration (name, document) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET document = excluded.document", name, string(doc))
		return err
	})
}
