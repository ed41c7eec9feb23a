package pin

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"brickhouse/shared/secret"
)

// keeper has the PINs of 1001 and 1002, in a real secret store.
func keeper(t *testing.T) (*Keeper, *time.Time) {
	t.Helper()
	dir := t.TempDir()
	if err := secret.CreateFile(filepath.Join(dir, "secrets"), filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	secrets, err := secret.OpenFile(filepath.Join(dir, "secrets"), filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { secrets.Close() })
	now := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	return &Keeper{
		Secrets: secrets, Path: "mailbox/", Owner: func(n string) bool { return n == "1001" || n == "1002" },
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
	}, &now
}

func TestWeak(t *testing.T) {
	k, _ := keeper(t)
	for pin, ok := range map[string]bool{"2580": true, "1234567890": false, "123": false, "4321": false, "1111": false, "1001": false, "12a4": false, "": false, "8675309": true} {
		if err := k.Set(t.Context(), "1001", pin); (err == nil) != ok || !ok && !errors.Is(err, ErrWeak) {
			t.Errorf("PIN %q: %v", pin, err)
		}
	}
}

func TestOpens(t *testing.T) {
	k, now := keeper(t)
	opens := func(number, pin string, want bool, fault error) {
		t.Helper()
		if ok, err := k.Opens(t.Context(), number, pin); ok != want || !errors.Is(err, fault) {
			t.Errorf("%s with %s: %v, %v", number, pin, ok, err)
		}
	}
	has := func(want bool) {
		t.Helper()
		if got, err := k.Has(t.Context(), "1001"); got != want || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
	has(false)
	opens("1001", "2580", false, nil)
	if err := k.Set(t.Context(), "1001", "2580"); err != nil { // and what was wrong before is forgiven
		t.Fatal(err)
	}
	has(true)
	opens("1001", "2580", true, nil)
	for range MaxWrong {
		opens("1001", "0852", false, nil)
	}
	opens("1001", "2580", false, ErrLocked)
	opens("1002", "0852", false, nil) // no other
	*now = now.Add(LockFor)
	opens("1001", "2580", true, nil)
	for range 2 * MaxWrong {
		opens("4711", "0852", false, nil) // is none, and not counted
	}
	if len(k.wrongs) != 1 {
		t.Errorf("counted: %v", k.wrongs)
	}
	if err := errors.Join(k.Delete(t.Context(), "1001"), k.Delete(t.Context(), "1001")); err != nil {
		t.Error(err)
	}
	has(false)
	opens("1001", "2580", false, nil)
}
