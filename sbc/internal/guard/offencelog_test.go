package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/conffile"
	"brickhouse/shared/verdict"
)

// What happened can be run again under other thresholds, also after a restart.
func TestReplay(t *testing.T) {
	h, dir := newHand(), t.TempDir()
	g := open(t, userSpace(), Options{Dir: dir, Clock: h.now})
	g.Known(addr("198.51.100.1"), "1@example.com", h.now().Add(time.Hour))
	fail(g, "192.0.2.1", 9) // the last four are after the ban
	fail(g, "192.0.2.2", 3)
	fail(g, "198.51.100.1", 4)
	after := g.Scoring()
	after.Rule("logins").Threshold = 3
	for range 2 {
		r, err := g.Replay(t.Context(), after, nil)
		must(t, err)
		if r.Records != 12 || r.Before.Bans != 1 || r.After.Bans != 2 || r.After.Holds != 2 || len(r.Sources) != 2 || r.Sources[1].Source != prefix("192.0.2.2/32") ||
			r.Sources[1].Before != nil || r.Sources[1].After.Rule != "logins" {
			t.Errorf("%+v", r)
		}
		must(t, g.Close())
		g = open(t, userSpace(), Options{Dir: dir, Clock: h.now})
	}
	if g.Scoring().Rules[0].Threshold != 5 {
		t.Error("the replay changed the guard")
	}
	text, err := os.ReadFile(filepath.Join(dir, recordName))
	must(t, err)
	r, err := g.Replay(t.Context(), after, bytes.NewReader(text)) // a recording from elsewhere
	if err != nil || r.After.Bans != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	after.Rules[0].Threshold = 0
	if _, err := g.Replay(t.Context(), after, nil); err == nil || !strings.Contains(err.Error(), "rules[0].threshold") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Replay(ctx, g.Scoring(), bytes.NewReader(text)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// The record takes no more than it may; what is left is the newest, and whole.
func TestRecordRotates(t *testing.T) {
	dir := t.TempDir()
	cfg := userSpace()
	cfg.Record.MaxSize = 64 * conffile.KiB
	g := open(t, cfg, Options{Dir: dir})
	size := func() (all int64) {
		for _, name := range []string{recordName, oldName} {
			info, err := os.Stat(filepath.Join(dir, name))
			must(t, err)
			if info.Size() > 32<<10 {
				t.Errorf("%s has %d bytes", name, info.Size())
			}
			all += info.Size()
		}
		return all
	}
	last := ""
	for i := range 2000 {
		last = fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		g.Offence(Offence{Source: netip.AddrPortFrom(addr(last), 1), Verified: true, Reason: verdict.BadCredentials, Detail: strings.Repeat("x", 96)})
		if i%50 == 0 {
			_, done, err := g.recording(t.Context())
			must(t, err)
			done()
		}
	}
	r, err := g.Replay(t.Context(), g.Scoring(), nil)
	must(t, err)
	s, _ := g.Stats()
	if n := size(); n > 64<<10 || n < 32<<10 || r.Bad != 0 || r.Records < 50 || r.Records >= 2000 || s.Recorded != 2000 || s.RecordFaults+s.RecordsDropped != 0 {
		t.Errorf("%d bytes, %d records, %d bad; %+v", n, r.Records, r.Bad, s)
	}
	text, err := os.ReadFile(filepath.Join(dir, recordName))
	must(t, err)
	if !bytes.Contains(text, []byte(`"`+last+`:1"`)) {
		t.Error("the last offence is not there")
	}
}

// A line that a crash tore does not spoil the next.
func TestRecordTorn(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, recordName), []byte(`{"v":1,"at":"20`), 0o600))
	g := open(t, userSpace(), Options{Dir: dir})
	fail(g, "192.0.2.1", 2)
	r, err := g.Replay(t.Context(), g.Scoring(), nil)
	must(t, err)
	if r.Records != 2 || r.Bad != 1 {
		t.Errorf("%+v", r)
	}
}

// A disk that does not take the record, or is too slow for it, changes nothing about bans.
func TestRecordFails(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, recordName, "in the way"), 0o700))
	g := open(t, userSpace(), Options{Dir: dir})
	fail(g, "192.0.2.1", 5)
	expectAdmit(t, g, "192.0.2.1", hostBanned)
	must(t, g.Close())
	if s, _ := g.Stats(); s.RecordFaults == 0 || s.Recorded != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRecordNeverWaits(t *testing.T) {
	g := open(t, userSpace(), Options{})
	g.scoring.recorder.mu.Lock() // the disk hangs
	for i := range 3 * recordQueue {
		g.Offence(Offence{Source: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1), Reason: verdict.BadCredentials})
	}
	s, _ := g.Stats()
	g.scoring.recorder.mu.Unlock()
	if s.RecordsDropped == 0 || s.Offences != 3*recordQueue {
		t.Errorf("%+v", s)
	}
}

// Off, on and off again while it runs.
func TestRecordReload(t *testing.T) {
	dir := t.TempDir()
	cfg := userSpace()
	cfg.Record.On = false
	g := open(t, cfg, Options{Dir: dir})
	fail(g, "192.0.2.1", 1)
	if r, err := g.Replay(t.Context(), g.Scoring(), nil); err != nil || r.Records != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := os.Stat(filepath.Join(dir, recordName)); err == nil {
		t.Error("it is recorded")
	}
	cfg.Record.On = true
	must(t, g.Reload(cfg))
	fail(g, "192.0.2.1", 1)
	cfg.Record.On = false
	must(t, g.Reload(cfg))
	fail(g, "192.0.2.1", 1)
	if r, err := g.Replay(t.Context(), g.Scoring(), nil); err != nil || r.Records != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
