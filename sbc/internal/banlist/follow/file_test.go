package follow

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"brickhouse/shared/conffile"
)

func TestFileChanges(t *testing.T) {
	r := newRig(t)
	path := filepath.Join(r.dir, "bans.txt")
	r.open(List{Name: "bans", File: path})
	if wait := r.look(); wait != 10*time.Second {
		t.Error(wait)
	}
	r.expect("none", 0, "the file is gone; nothing is in force")
	r.write("bans.txt", "192.0.2.1\n")
	r.look()
	r.expect("192.0.2.1/32", 1, "")
	r.look()
	r.expect("192.0.2.1/32", 1, "")
	r.write("bans.txt", "192.0.2.2\n")
	r.look()
	r.expect("192.0.2.2/32", 2, "")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.look()
	r.expect("192.0.2.2/32", 2, "the file is gone; the list of ")
	r.write("bans.txt", "192.0.2.2\n192.0.2.4\n")
	r.look()
	r.expect("192.0.2.2/32 192.0.2.4/32", 3, "")
}

// A file that was renamed over another is new even if its size and time are the same.
func TestFileReplacedByTwin(t *testing.T) {
	r := newRig(t)
	r.open(List{Name: "bans", File: r.write("bans.txt", "192.0.2.1\n")})
	r.look()
	info, err := os.Stat(filepath.Join(r.dir, "bans.txt"))
	if err != nil {
		t.Fatal(err)
	}
	twin := r.write("twin", "192.0.2.2\n")
	if err := os.Chtimes(twin, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(twin, filepath.Join(r.dir, "bans.txt")); err != nil {
		t.Fatal(err)
	}
	r.look()
	r.expect("192.0.2.2/32", 2, "")
}

func TestFileRefused(t *testing.T) {
	r := newRig(t)
	path := r.write("bans.txt", "192.0.2.1\n")
	l := List{Name: "bans", File: path, MaxBytes: 100 * conffile.KiB, MaxEntries: 3}
	r.open(l)
	r.look()
	for text, want := range map[string]string{
		"<html>":                                 "is no list of networks: it looks like a web page",
		"192.0.2.7\nnot an address\n":            "is no list of networks: 1 of 2 entries are no addresses; line 2: \"not an address\"",
		"1.1.1.1\n1.1.1.2\n1.1.1.3\n1.1.1.4\n":   "has too many entries: more than 3; the list of ",
		"# nothing\n":                            "has no entries where it had 1; allow_empty would take it; the list of ",
		string(bytes.Repeat([]byte{'#'}, 200e3)): "is too large",
	} {
		r.write("bans.txt", text)
		for range 2 { // and it stays refused
			r.look()
			r.expect("192.0.2.1/32", 1, want)
		}
	}
	l.AllowEmpty = true
	if err := r.Reload(configOf(l)); err != nil {
		t.Fatal(err)
	}
	r.write("bans.txt", "# nothing\n")
	r.look()
	r.expect("", 2, "")
}

// A pipe does not hang the look, and a directory is no file.
func TestNoFile(t *testing.T) {
	r := newRig(t)
	pipe := filepath.Join(r.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, r.dir, "/dev/null"} {
		r.open(List{Name: "bans", File: path})
		r.look()
		r.expect("none", 0, "is no regular file")
	}
}

// A list that could not be put in force is given again, also if the file is the same by then.
func TestApplyFails(t *testing.T) {
	r := newRig(t)
	r.open(List{Name: "bans", File: r.write("bans.txt", "192.0.2.1\n")})
	r.setRefuse(errFull)
	r.look()
	r.expect("none", 1, "putting it in force: table is full")
	r.setRefuse(nil)
	r.look()
	r.expect("192.0.2.1/32", 2, "")
	r.setRefuse(errFull)
	r.write("bans.txt", "192.0.2.2\n")
	r.look()
	r.expect("192.0.2.1/32", 3, "putting it in force: table is full; the list of ")
	r.setRefuse(nil)
	r.write("bans.txt", "192.0.2.1\n") // back again; nobody knows what the failed try left
	r.look()
	r.expect("192.0.2.1/32", 4, "")
}

func mmdb(t *testing.T, country string, networks ...string) string {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Test", Description: map[string]string{"en": "test"}, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range networks {
		_, ipnet, err := net.ParseCIDR(n)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(ipnet, mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(country)}}); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDatabase(t *testing.T) {
	r := newRig(t)
	l := List{Name: "far", MMDB: r.write("geo.mmdb", mmdb(t, "DE", "192.0.2.0/24", "2001:db8::/32")), Countries: []string{"DE"}}
	r.open(l)
	if wait := r.look(); wait != time.Minute {
		t.Error(wait)
	}
	r.expect("192.0.2.0/24 2001:db8::/32", 1, "")
	good := mmdb(t, "DE", "198.51.100.0/24")
	for text, want := range map[string]string{
		good[:len(good)/2]: "is no sound MMDB database",
		"":                 "is no sound MMDB database",
		// The rule names a country that is not there any more: an empty list.
		mmdb(t, "FR", "192.0.2.0/24"): "has no entries where it had 2",
	} {
		r.write("geo.mmdb", text)
		r.look()
		r.expect("192.0.2.0/24 2001:db8::/32", 1, want)
	}
	r.write("geo.mmdb", good)
	r.look()
	r.expect("198.51.100.0/24", 2, "")
	l.Countries, l.ASNs = nil, []uint32{64500}
	if err := r.Reload(configOf(l)); err != nil {
		t.Fatal(err)
	}
	r.look()
	r.expect("198.51.100.0/24", 2, "has no such data: no autonomous systems in a database of type \"Test\"")
}
