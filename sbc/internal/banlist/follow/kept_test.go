package follow

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// away makes a server answer nothing any more.
func away(s *server) { s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }) }

// After a restart without network the list is there, and says that it is the kept copy; once the server answers that nothing has
// changed, it is current again.
func TestRestartWithoutNetwork(t *testing.T) {
	s := newServer(t)
	r := newRig(t, s.list())
	s.text("192.0.2.1\n2001:db8::/32\n")
	r.look()
	fetched := r.Status()[0].Fetched
	away(s)
	r.open(s.list())
	r.Load(context.Background())
	r.expect("192.0.2.1/32 2001:db8::/32", 2, "")
	if st := r.Status()[0]; !st.FromDisk || !st.Fetched.Equal(fetched) || st.Report.Read != 2 || s.asked() != 1 {
		t.Errorf("%+v", st)
	}
	r.look()
	r.expect("192.0.2.1/32 2001:db8::/32", 2, "the server answers 500 Internal Server Error; the list of ")
	if st := r.Status()[0]; !st.FromDisk {
		t.Errorf("%+v", st)
	}
	s.text("192.0.2.1\n2001:db8::/32\n")
	r.look()
	r.expect("192.0.2.1/32 2001:db8::/32", 2, "")
	if st := r.Status()[0]; st.FromDisk || s.last().Header.Get("If-None-Match") == "" {
		t.Errorf("%+v", st)
	}
}

// A copy that a crash or a person damaged is not used, and the list is fetched anew.
func TestDamagedCopy(t *testing.T) {
	s := newServer(t)
	r := newRig(t, s.list())
	s.text("192.0.2.1\n192.0.2.2\n")
	r.look()
	path := filepath.Join(r.dir, "kept", "feed.list")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || strings.Contains(string(good), "key-1234") {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	flip := func(at int) []byte {
		b := []byte(string(good))
		b[at] ^= 1
		return b
	}
	for name, data := range map[string][]byte{
		"empty": nil, "header cut": good[:100], "body cut": good[:len(good)-1], "longer": append([]byte(string(good)), 'x'),
		"header": flip(2), "body": flip(headerSize + 8), "other version": []byte(strings.Replace(string(good), `{"v":1`, `{"v":2`, 1)),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r.open(s.list())
		_, before := r.inForce("feed")
		r.Load(context.Background())
		if st := r.Status()[0]; !strings.HasPrefix(st.Error, errDamaged.Error()) || st.Entries != 0 {
			t.Errorf("%s: %+v", name, st)
		}
		if _, n := r.inForce("feed"); n != before {
			t.Errorf("%s was put in force", name)
		}
		r.look()
		r.expect("192.0.2.1/32 192.0.2.2/32", before+1, "")
		if again, err := os.ReadFile(path); err != nil || len(again) != len(good) {
			t.Errorf("%s: not made good: %v", name, err)
		}
	}
}

// The copy of another URL is another list's, and a copy is read as the configuration says now.
func TestCopyOfAnotherConfiguration(t *testing.T) {
	s := newServer(t)
	r := newRig(t, s.list())
	s.text("a,192.0.2.1\nb,192.0.2.2\n")
	r.look()
	l := s.list()
	l.URL += "/other"
	r.open(l)
	r.Load(context.Background())
	if st := r.Status()[0]; st.Entries != 0 || st.Error != "" {
		t.Errorf("%+v", st)
	}
	l = s.list()
	l.MaxEntries = 1
	r.open(l)
	r.Load(context.Background())
	if st := r.Status()[0]; st.Entries != 0 || !strings.Contains(st.Error, "too many") {
		t.Errorf("%+v", st)
	}
}

// A disk that takes nothing keeps no copy, and the list is in force all the same only if it could be read: here it could not
// even be spooled, so the last one stays.
func TestDiskFails(t *testing.T) {
	s := newServer(t)
	r := newRig(t, s.list())
	s.text("192.0.2.1\n")
	r.look()
	kept := filepath.Join(r.dir, "kept")
	if err := os.MkdirAll(filepath.Join(kept, ".feed.new", "x"), 0o700); err != nil { // root may write anywhere, but not there
		t.Fatal(err)
	}
	s.text("192.0.2.2\n")
	r.look()
	r.expect("192.0.2.1/32", 1, "keeping a copy: ")
	for _, f := range []func() error{
		func() error { return os.RemoveAll(filepath.Join(kept, ".feed.new")) },
		func() error { return os.Remove(filepath.Join(kept, "feed.list")) },
		func() error { return os.MkdirAll(filepath.Join(kept, "feed.list", "x"), 0o700) },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	r.look()
	r.expect("192.0.2.2/32", 2, "")
	if st := r.Status()[0]; !strings.HasPrefix(st.Disk, "keeping a copy: ") {
		t.Errorf("%+v", st)
	}
}
