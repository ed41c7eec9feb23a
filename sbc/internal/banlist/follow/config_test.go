package follow

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"brickhouse/sbc/internal/banlist"
	"brickhouse/shared/conffile"
)

func TestCheck(t *testing.T) {
	good := []List{
		{Name: "a", File: "/etc/bans.txt"},
		{Name: "b-1_x", URL: "https://example.com/drop.json?key=1", Format: banlist.DropJSON, Every: time.Minute, Timeout: time.Second, CA: "ca.pem", TokenFile: "t", AllowEmpty: true},
		{Name: "c", URL: "http://127.0.0.1:8080/x"}, {Name: "d", URL: "http://[::1]/x"}, {Name: "e", URL: "http://localhost/x", Monitor: true},
		{Name: "f", MMDB: "/x.mmdb", Countries: []string{"DE"}, ASNs: []uint32{64500}, Allow: true},
		{Name: "g", File: "x", Format: banlist.CSV, Column: "ip", Every: time.Second, MaxEntries: 4_000_000, MaxBytes: conffile.GiB, MaxGarbage: 50},
	}
	if fs := (Config{Lists: good}).Check(); len(fs) > 0 {
		t.Error(fs)
	}
	for _, tc := range []struct {
		l    List
		want string // keys of the faults
	}{
		{List{}, "name file"},
		{List{Name: "a/b", File: "x"}, "name"},
		{List{Name: "..", File: "x"}, "name"},
		{List{Name: strings.Repeat("a", 33), File: "x"}, "name"},
		{List{Name: "a", File: "x", URL: "https://example.com"}, "file"},
		{List{Name: "a", File: "x", MMDB: "x", Countries: []string{"DE"}}, "file"},
		{List{Name: "a", URL: "http://example.com/x"}, "url"},
		{List{Name: "a", URL: "http://127.0.0.1.example.com/x"}, "url"},
		{List{Name: "a", URL: "http://192.0.2.1/x"}, "url"},
		{List{Name: "a", URL: "ftp://example.com/x"}, "url"},
		{List{Name: "a", URL: "file:///etc/passwd"}, "url"},
		{List{Name: "a", URL: "https://"}, "url"},
		{List{Name: "a", URL: "https://user:secret@example.com"}, "url"},
		{List{Name: "a", URL: "https://example.com/#x"}, "url"},
		{List{Name: "a", URL: "https://example.com/" + strings.Repeat("x", maxURL)}, "url"},
		{List{Name: "a", URL: "https://example.com", Every: 59 * time.Second}, "every"},
		{List{Name: "a", File: "x", Every: time.Millisecond}, "every"},
		{List{Name: "a", File: "x", Every: 8 * 24 * time.Hour}, "every"},
		{List{Name: "a", File: "x", MaxEntries: 4_000_001}, "max_entries"},
		{List{Name: "a", File: "x", MaxBytes: conffile.GiB + 1}, "max_bytes"},
		{List{Name: "a", File: "x", MaxGarbage: 51}, "max_garbage"},
		{List{Name: "a", File: "x", Allow: true, Monitor: true}, "monitor"},
		{List{Name: "a", File: "x", Format: "xml"}, "format"},
		{List{Name: "a", File: "x", Column: "ip"}, "column"},
		{List{Name: "a", File: "x", CA: "x", TokenFile: "x", Timeout: time.Second}, "timeout ca token_file"},
		{List{Name: "a", URL: "https://example.com", Timeout: time.Hour}, "timeout"},
		{List{Name: "a", File: "x", Countries: []string{"DE"}}, "mmdb"},
		{List{Name: "a", MMDB: "x"}, "countries"},
		{List{Name: "a", MMDB: "x", Format: banlist.Plain, ASNs: []uint32{1}}, "format"},
		{List{Name: "a", MMDB: "x", Countries: []string{"de"}, ASNs: []uint32{0}}, "countries[0] asns[0]"},
		{List{Name: "a", MMDB: "x", ASNs: make([]uint32, 1)}, "asns[0]"},
	} {
		var got []string
		for _, f := range (Config{Lists: []List{tc.l}}).Check() {
			got = append(got, strings.TrimPrefix(f.Key, "lists[0]."))
			if strings.Contains(f.Problem, "secret") {
				t.Errorf("%s tells a secret", f)
			}
		}
		if fmt.Sprint(got) != "["+tc.want+"]" {
			t.Errorf("%+v: %v, want %s", tc.l, got, tc.want)
		}
	}
	if fs := (Config{Lists: []List{good[0], good[0]}}).Check(); len(fs) != 1 || fs[0].Error() != `lists[1].name: "a" stands twice` {
		t.Error(fs)
	}
	var many Config
	for i := range maxLists + 1 {
		many.Lists = append(many.Lists, List{Name: fmt.Sprint(i), File: "x"})
	}
	if fs := many.Check(); len(fs) != 1 || fs[0].Key != "lists" {
		t.Error(fs)
	}
}
