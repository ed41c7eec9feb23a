package score

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"brickhouse/shared/verdict"
)

func offence(src string) Offence {
	return Offence{Source: netip.MustParseAddrPort(src), Verified: true, Reason: verdict.BadCredentials, AOR: "100@example.com", Detail: "REGISTER", Interface: "tls", At: start}
}

func lines(t testing.TB, rs ...Record) []byte {
	t.Helper()
	var b []byte
	for _, r := range rs {
		var err error
		if b, err = r.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// What is recorded is read again as it was.
func TestRecord(t *testing.T) {
	a, b := NewRecord(offence("192.0.2.1:4000"), start, 3, 40), NewRecord(offence("[2001:db8::1]:5061"), start.Add(time.Second), 0, 0)
	var got []Record
	for r, err := range Records(bytes.NewReader(lines(t, a, b))) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if len(got) != 2 || got[0] != a || got[1] != b || got[0].Offence() != offence("192.0.2.1:4000") {
		t.Errorf("%+v", got)
	}
}

// Lines that are no records are told and passed over; a torn tail is one of them.
func TestBadRecords(t *testing.T) {
	good := string(lines(t, NewRecord(offence("192.0.2.1:4000"), start, 0, 0)))
	for name, bad := range map[string]string{
		"no JSON":       "rubbish\n",
		"version":       strings.Replace(good, `"v":1`, `"v":2`, 1),
		"no source":     strings.Replace(good, "192.0.2.1", "0.0.0.0", 1),
		"bad source":    strings.Replace(good, "192.0.2.1:4000", "host", 1),
		"no reason":     strings.Replace(good, "bad-credentials", "", 1),
		"long reason":   strings.Replace(good, "bad-credentials", strings.Repeat("x", 65), 1),
		"negative":      strings.Replace(good, `"reason"`, `"known":-1,"reason"`, 1),
		"long ago":      strings.Replace(good, "2026-", "1826-", 1),
		"far from now":  strings.Replace(good, "2026-", "2326-", 1),
		"too long":      `{"detail":"` + strings.Repeat("x", 3*maxRecord) + good,
		"zeros":         "\x00\x00\x00\x00\n",
		"torn":          good[:40] + "\n",
		"torn long ago": good[:40] + good,
	} {
		if bad == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		n, faults := 0, 0
		for _, err := range Records(strings.NewReader(good + bad + "\n" + good + good[:len(good)-9])) {
			if errors.Is(err, ErrBadRecord) {
				faults++
			} else if err != nil {
				t.Fatal(err)
			} else {
				n++
			}
		}
		if n != 2 || faults != 2 { // the last one is torn
			t.Errorf("%s: %d records and %d faults", name, n, faults)
		}
	}
}

func TestReaderFails(t *testing.T) {
	failure := errors.New("the disk is gone")
	good := lines(t, NewRecord(offence("192.0.2.1:4000"), start, 0, 0))
	var got []error
	for _, err := range Records(io.MultiReader(bytes.NewReader(good), iotest.ErrReader(failure))) {
		got = append(got, err)
	}
	if len(got) != 2 || got[0] != nil || !errors.Is(got[1], failure) {
		t.Errorf("%v", got)
	}
	if _, err := Replay(Records(iotest.ErrReader(failure)), Default(), Default()); !errors.Is(err, failure) {
		t.Error(err)
	}
}

// The reader takes any bytes: what it yields is in its normal form, can be recorded again, and scores without harm.
func FuzzRecords(f *testing.F) {
	good := lines(f, NewRecord(offence("192.0.2.1:4000"), start, 3, 40), NewRecord(offence("[2001:db8::1]:5061"), start, 0, 0))
	f.Add(good)
	f.Add(bytes.Repeat(good, 5))
	f.Add(good[:len(good)-20])
	f.Add([]byte("{}\n\x00\n[]\nnull\n{\"v\":1}\n"))
	f.Add([]byte(`{"v":1,"at":"2199-12-31T23:59:59Z","source":"[::ffff:1.2.3.4%eth0]:1","reason":"x","aor":"\u001b[2J\ud800"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var rs []Record
		for r, err := range Records(bytes.NewReader(b)) {
			if errors.Is(err, ErrBadRecord) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			rs = append(rs, r)
		}
		again := 0
		for r, err := range Records(bytes.NewReader(lines(t, rs...))) {
			if err != nil || !r.At.Equal(rs[again].At) || r.Offence().Source != rs[again].Source || r.AOR != rs[again].AOR {
				t.Fatalf("%+v became %+v, %v", rs[again], r, err)
			}
			again++
		}
		if again != len(rs) {
			t.Fatalf("%d records became %d", len(rs), again)
		}
		report, err := Replay(Records(bytes.NewReader(b)), Default(), Default())
		if err != nil || report.Records != len(rs) || report.Before != report.After {
			t.Fatalf("%+v, %v", report, err)
		}
	})
}
