package apikey

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/pbx/internal/database"
	"brickhouse/shared/control"
)

var (
	areas = []string{"calls", "queues"}
	from  = netip.MustParseAddrPort("127.0.0.1:4000")
)

// rig is a ring on a database, with a clock that stands.
type rig struct {
	*testing.T
	path string
	db   *database.Database
	ring *Ring
	now  time.Time
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, path: filepath.Join(t.TempDir(), "exchange.db"), now: time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)}
	r.open()
	return r
}

func (r *rig) open() {
	r.Helper()
	var err error
	if r.db, err = database.Open(r.Context(), r.path); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { r.db.Close() })
	if r.ring, err = Open(r.Context(), r.db, slog.New(slog.DiscardHandler), func() time.Time { return r.now }); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) add(name string, life time.Duration, scopes ...string) string {
	r.Helper()
	token, _, err := r.ring.Add(r.Context(), name, scopes, areas, life)
	if err != nil {
		r.Fatal(err)
	}
	return token
}

func TestCheck(t *testing.T) {
	r := newRig(t)
	long, short := r.add("long", 0, "calls:read"), r.add("short", time.Hour, "write")
	if g, err := r.ring.Check(t.Context(), long, from); err != nil || g.Name != "long" || strings.Join(g.Scopes, " ") != "calls:read" {
		t.Errorf("%+v %v", g, err)
	}
	id := strings.Split(long, "_")[1]
	other := strings.Split(short, "_")[1]
	for _, token := range []string{
		"", "bh_", "bh__", "bh_" + id + "_", long[:len(long)-1], long + "A", long + "=", strings.ToUpper(long), strings.Replace(long, id, other, 1),
		strings.TrimPrefix(long, "bh_"), long + "\n", strings.Replace(long, "bh_", "bh_x", 1),
	} {
		if _, err := r.ring.Check(t.Context(), token, from); !errors.Is(err, control.ErrNoKey) {
			t.Errorf("%q: %v", token, err)
		}
	}
	r.now = r.now.Add(time.Hour - time.Second)
	if _, err := r.ring.Check(t.Context(), short, from); err != nil {
		t.Error(err)
	}
	r.now = r.now.Add(time.Second)
	if _, err := r.ring.Check(t.Context(), short, from); !errors.Is(err, control.ErrNoKey) {
		t.Errorf("after its end: %v", err)
	}
}

// TestLasts holds that keys, what they may do, their last use and their end outlive the program, and that the secret is nowhere in its files.
func TestLasts(t *testing.T) {
	r := newRig(t)
	keep, gone := r.add("keep", 0, "queues:write"), r.add("gone", 0, "read")
	if _, err := r.ring.Check(t.Context(), keep, from); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ring.Delete(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	r.ring.Run(ended)
	files, err := filepath.Glob(filepath.Join(filepath.Dir(r.path), "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err != nil || strings.Contains(string(b), keep[len(keep)-40:]) {
			t.Errorf("%s holds the key (%v)", f, err)
		}
	}
	r.db.Close()
	r.open()
	if g, err := r.ring.Check(t.Context(), keep, from); err != nil || g.Name != "keep" {
		t.Errorf("%+v %v", g, err)
	}
	if _, err := r.ring.Check(t.Context(), gone, from); !errors.Is(err, control.ErrNoKey) {
		t.Error(err)
	}
	if list := r.ring.List(); len(list) != 1 || !list[0].Used.Equal(r.now) || list[0].UsedFrom != "127.0.0.1" || list[0].Hash != nil {
		t.Errorf("%+v", list)
	}
}

func TestAddRefuses(t *testing.T) {
	r := newRig(t)
	r.add("taken", 0, "read")
	for _, c := range []struct {
		name   string
		life   time.Duration
		scopes []string
		want   error
	}{
		{"", 0, []string{"read"}, ErrName},
		{"a b", 0, []string{"read"}, ErrName},
		{strings.Repeat("a", 65), 0, []string{"read"}, ErrName},
		{"a", time.Second, []string{"read"}, ErrLife},
		{"a", -time.Hour, []string{"read"}, ErrLife},
		{"a", 0, nil, ErrScope},
		{"a", 0, []string{"calls"}, ErrScope},
		{"a", 0, []string{"keys:write"}, ErrScope},
		{"a", 0, []string{"calls:delete"}, ErrScope},
		{"a", 0, []string{":read"}, ErrScope},
		{"a", 0, []string{"read", "read"}, ErrScope},
		{"taken", 0, []string{"read"}, database.ErrTaken},
	} {
		if _, _, err := r.ring.Add(t.Context(), c.name, c.scopes, areas, c.life); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if len(r.ring.List()) != 1 {
		t.Error("a refused key is there")
	}
}

func FuzzCheck(f *testing.F) {
	db, err := database.Open(context.Background(), filepath.Join(f.TempDir(), "exchange.db"))
	if err != nil {
		f.Fatal(err)
	}
	defer db.Close()
	ring, err := Open(context.Background(), db, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		f.Fatal(err)
	}
	token, _, err := ring.Add(context.Background(), "a", []string{"read"}, nil, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("bh_a_b")
	f.Add(token[:len(token)-1])
	f.Fuzz(func(t *testing.T, s string) {
		if g, err := ring.Check(t.Context(), s, from); err == nil && s != token {
			t.Errorf("%q is taken for %+v", s, g)
		}
	})
}
