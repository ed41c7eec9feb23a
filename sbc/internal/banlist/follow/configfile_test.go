package follow

import (
	"reflect"
	"testing"
	"time"

	"brickhouse/sbc/internal/banlist"
	"brickhouse/shared/conffile"
)

// The configuration reads as documented, and each key says what it is.
func TestConfigFile(t *testing.T) {
	var c Config
	_, err := conffile.Parse("sbc.yaml", []byte(`lists:
  - {name: drop, url: "https://example.com/drop_v4.json", format: drop-json, every: 12h, max_bytes: 1MiB, timeout: 10s, ca: ca.pem, token_file: token}
  - {name: own, file: bans.csv, format: csv, column: ip, max_entries: 10, max_garbage: 5, allow_empty: true, monitor: true}
  - {name: home, mmdb: geo.mmdb, countries: [DE, AT], asns: [64500], allow: true}
`), &c)
	want := configOf(
		List{Name: "drop", URL: "https://example.com/drop_v4.json", Format: banlist.DropJSON, Every: 12 * time.Hour, MaxBytes: conffile.MiB, Timeout: 10 * time.Second, CA: "ca.pem", TokenFile: "token"},
		List{Name: "own", File: "bans.csv", Format: banlist.CSV, Column: "ip", MaxEntries: 10, MaxGarbage: 5, AllowEmpty: true, Monitor: true},
		List{Name: "home", MMDB: "geo.mmdb", Countries: []string{"DE", "AT"}, ASNs: []uint32{64500}, Allow: true},
	)
	if err != nil || !reflect.DeepEqual(c, want) || len(c.Check()) > 0 {
		t.Errorf("%+v, %v, %v", c, err, c.Check())
	}
	for typ := range reflect.TypeFor[List]().Fields() {
		if typ.Tag.Get("doc") == "" || typ.Tag.Get("yaml") == "" {
			t.Errorf("%s has no doc or no key", typ.Name)
		}
	}
}
