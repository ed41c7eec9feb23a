package exchange

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/digest"
	"brickhouse/shared/secret"
	"brickhouse/shared/transport"
)

// hashes are those that are kept for an extension.
func (r *rig) hashes(number string) map[digest.Algorithm]string {
	r.Helper()
	out := map[digest.Algorithm]string{}
	for _, alg := range []digest.Algorithm{digest.MD5, digest.SHA256, digest.SHA512256} {
		if ha1, ok, err := r.x.accounts.HA1(r.Context(), number, alg); err != nil {
			r.Fatal(err)
		} else if ok {
			out[alg] = ha1
		}
	}
	return out
}

func (r *rig) order(number string) []digest.Algorithm {
	r.Helper()
	e, ok := r.x.Store().Extension(number)
	if !ok {
		r.Fatalf("no extension %s", number)
	}
	return e.Algorithms
}

func TestAddExtension(t *testing.T) {
	r := newRig(t, nil)
	h := r.hashes("1001")
	if len(h) != 2 || h[digest.MD5] != digest.HA1(digest.MD5, "1001", domain, password) || h[digest.SHA256] != digest.HA1(digest.SHA256, "1001", domain, password) {
		t.Errorf("hashes: %v", h)
	}
	if e, _ := r.x.Store().Extension("1001"); e.Name != "Phone 1001" || e.CreatedAt.IsZero() || !slices.Equal(e.Algorithms, algorithms(true)) {
		t.Errorf("%+v", e)
	}
	if err := r.x.AddExtension(t.Context(), store.Extension{Number: ""}, password); err == nil {
		t.Error("an extension without a number")
	}
	if h := r.hashes("1999"); len(h) != 0 {
		t.Errorf("a stranger has hashes: %v", h)
	}
}

// TestPasswords: a new password works and the old one does not; without MD5, nothing of it is kept.
func TestPasswords(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	p.register()
	if err := r.x.SetPassword(t.Context(), "1001", "another password"); err != nil {
		t.Fatal(err)
	}
	asked, _ := p.with(p.registration(), 401)
	asked.Response(401)
	p.password = "another password"
	p.register()
	if got := r.order("1001"); !slices.Equal(got, algorithms(true)) {
		t.Errorf("order %v", got)
	}

	strict := newRig(t, func(c *Config) { c.Digest.MD5 = false })
	if h, got := strict.hashes("1001"), strict.order("1001"); len(h) != 1 || !slices.Equal(got, []digest.Algorithm{digest.SHA256}) {
		t.Errorf("hashes %v, order %v", h, got)
	}
	if err := AddExtension(t.Context(), strict.x.store, strict.x.secrets, store.Extension{Number: "1003"}, domain, password, true); err != nil {
		t.Fatal(err)
	}
	if err := strict.x.SetPassword(t.Context(), "1003", "another password"); err != nil {
		t.Fatal(err)
	}
	if h, got := strict.hashes("1003"), strict.order("1003"); len(h) != 1 || !slices.Equal(got, []digest.Algorithm{digest.SHA256}) {
		t.Errorf("an account that knew MD5: hashes %v, order %v", h, got)
	}
	q := strict.phone("1003", transport.UDP, 50)
	q.password = "another password"
	q.register()
}

func TestSetDigest(t *testing.T) {
	r := newRig(t, nil)
	if err := r.x.SetDigest(t.Context(), "1001", []digest.Algorithm{digest.MD5}); err != nil {
		t.Fatal(err)
	}
	if got := r.order("1001"); !slices.Equal(got, []digest.Algorithm{digest.MD5}) {
		t.Errorf("order %v", got)
	}
	p := r.phone("1001", transport.UDP, 50)
	if c := p.Do(p.flow, p.registration(), 401).GetHeaders("WWW-Authenticate"); len(c) != 1 || !strings.Contains(c[0].Value(), "MD5") {
		t.Errorf("challenges %v", c)
	}
	if err := r.x.SetDigest(t.Context(), "1999", []digest.Algorithm{digest.MD5}); err == nil || !strings.Contains(err.Error(), "1999") {
		t.Errorf("no such extension: %v", err)
	}
	if err := r.x.SetDigest(t.Context(), "1001", []digest.Algorithm{digest.SHA512256}); err == nil || !strings.Contains(err.Error(), "no SHA-512-256 hash") {
		t.Errorf("no such hash: %v", err)
	}
	if got := r.order("1001"); !slices.Equal(got, []digest.Algorithm{digest.MD5}) {
		t.Errorf("order %v after a fault", got)
	}
}

// TestDeleteExtension leaves nothing of it.
func TestDeleteExtension(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	p.register()
	if was, err := r.x.DeleteExtension(t.Context(), "1001"); !was || err != nil {
		t.Fatalf("%v, %v", was, err)
	}
	if _, ok := r.x.Store().Extension("1001"); ok || len(r.hashes("1001")) != 0 || len(r.x.Store().Bindings("1001", r.x.now())) != 0 {
		t.Error("something is left")
	}
	asked, _ := p.with(p.registration(), 401)
	asked.Response(401)
	if was, err := r.x.DeleteExtension(t.Context(), "1001"); was || err != nil {
		t.Errorf("once more: %v, %v", was, err)
	}
	// One whose secret is lost can be removed all the same.
	if err := r.x.secrets.Delete(t.Context(), extensionSecrets+"1002"); err != nil {
		t.Fatal(err)
	}
	if was, err := r.x.DeleteExtension(t.Context(), "1002"); !was || err != nil {
		t.Errorf("without a secret: %v, %v", was, err)
	}
}

// away is a secret store that can't be reached.
type away struct{}

var errAway = errors.New("store is away")

func (away) Get(context.Context, string) (map[string]string, error) { return nil, errAway }
func (away) Put(context.Context, string, map[string]string) error   { return errAway }
func (away) Delete(context.Context, string) error                   { return errAway }
func (away) List(context.Context, string) ([]string, error)         { return nil, errAway }
func (away) Close() error                                           { return nil }

var _ secret.Store = away{}

// TestSecretsAway names what could not be done, and does not do half of it.
func TestSecretsAway(t *testing.T) {
	r := newRig(t, nil)
	s := r.x.Store()
	a := &accounts{s, away{}}
	if _, ok, err := a.HA1(t.Context(), "1001", digest.MD5); ok || !errors.Is(err, errAway) {
		t.Errorf("%v, %v", ok, err)
	}
	err := AddExtension(t.Context(), s, away{}, store.Extension{Number: "1003"}, domain, password, true)
	if _, ok := s.Extension("1003"); ok || !errors.Is(err, errAway) || !strings.Contains(err.Error(), "1003") {
		t.Errorf("%v, %v", ok, err)
	}
	if err := SetTrunkPassword(t.Context(), away{}, "carrier", "x"); !errors.Is(err, errAway) || !strings.Contains(err.Error(), "carrier") {
		t.Error(err)
	}
	if was, err := DeleteExtension(t.Context(), s, away{}, "1001", r.x.now()); !was || !errors.Is(err, errAway) {
		t.Errorf("%v, %v", was, err)
	}
}

func TestWait(t *testing.T) {
	done := make(chan struct{})
	close(done)
	if err := wait(t.Context(), done); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := wait(ctx, make(chan struct{})); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
