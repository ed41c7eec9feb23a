package relay

import "testing"

// readers are closed after the sessions that they read, which are opened later.
func readers(t testing.TB) *Readers {
	t.Helper()
	r, err := NewReaders(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}
