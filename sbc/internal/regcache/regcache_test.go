package regcache

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transport"
	"brickhouse/shared/transport/transporttest"
)

var (
	key   = []byte("a key of thirty-two bytes or more")
	epoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
)

// flows makes two flows in memory.
func flows(t testing.TB) (a, b *transport.Flow) {
	t.Helper()
	ea, eb, err := transporttest.Pipe(transport.TCP, &transporttest.Recorder{}, &transporttest.Recorder{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ea.Stop)
	return ea.Flow, eb.Flow
}

func binding(token, aor string, f *transport.Flow) Binding {
	return Binding{Token: token, AOR: aor, Flow: f, Contact: sip.Uri{Scheme: "sip", User: "x", Host: "192.0.2.7"}, Expires: epoch.Add(time.Minute)}
}

func put(t testing.TB, c *Cache, b Binding) {
	t.Helper()
	if err := c.Put(b); err != nil {
		t.Fatal(err)
	}
}

// wants holds which tokens are there.
func wants(t testing.TB, c *Cache, tokens string, gone string) {
	t.Helper()
	for _, token := range tokens {
		if b, ok := c.Get(string(token), epoch); !ok || b.Token != string(token) {
			t.Errorf("binding %c is gone", token)
		}
	}
	for _, token := range gone {
		if b, ok := c.Get(string(token), epoch); ok {
			t.Errorf("binding %+v is there", b)
		}
	}
	if n := c.Expire(epoch); n != len(tokens) {
		t.Errorf("%d bindings, want %d", n, len(tokens))
	}
	linked := 0
	for _, x := range []index{c.byFlow, c.byAOR} {
		for key, set := range x {
			if len(set) == 0 {
				t.Errorf("an empty set stays for %s", key)
			}
			linked += len(set)
		}
	}
	if linked != 2*len(tokens) {
		t.Errorf("%d links of %d bindings", linked, len(tokens))
	}
}

func TestToken(t *testing.T) {
	c := New(key, 0)
	uri := func(user string, port int) sip.Uri {
		return sip.Uri{Scheme: "sip", User: user, Host: "10.0.0.5", Port: port}
	}
	base := c.Token("1001@x", "", "", uri("a", 5060))
	if len(base) != 32 {
		t.Errorf("token %q", base)
	}
	if again := New(key, 0).Token("1001@x", "", "", uri("a", 5060)); again != base {
		t.Error("a restart changes the token")
	}
	instance := c.Token("1001@x", `"<urn:uuid:1>"`, "1", uri("a", 5060))
	if moved := c.Token("1001@x", `"<urn:uuid:1>"`, "1", uri("a", 40000)); moved != instance {
		t.Error("a phone with an instance has another token from another port")
	}
	seen := map[string]string{base: "base"}
	for name, token := range map[string]string{
		"account": c.Token("1002@x", "", "", uri("a", 5060)), "port": c.Token("1001@x", "", "", uri("a", 5061)),
		"instance": instance, "reg-id": c.Token("1001@x", `"<urn:uuid:1>"`, "2", uri("a", 5060)),
		"other instance": c.Token("1001@x", `"<urn:uuid:2>"`, "1", uri("a", 5060)),
		"other key":      New([]byte("other"), 0).Token("1001@x", "", "", uri("a", 5060)),
	} {
		if other, twice := seen[token]; twice {
			t.Errorf("%s and %s have one token", name, other)
		}
		seen[token] = name
	}
}

func TestPutAndGet(t *testing.T) {
	f, g := flows(t)
	c := New(key, 0)
	put(t, c, binding("a", "1001@x", f))
	put(t, c, binding("b", "1001@x", g))
	wants(t, c, "ab", "c")
	if _, ok := c.Get("a", epoch.Add(time.Minute)); ok {
		t.Error("an expired binding is used")
	}
	put(t, c, binding("a", "1001@x", g)) // the phone comes over another connection
	c.RemoveFlow(f.ID())
	wants(t, c, "ab", "")
	if b, _ := c.Get("a", epoch); b.Flow != g {
		t.Error("the old flow is used")
	}
	c.Remove("a")
	c.Remove("a")
	c.Remove("never there")
	wants(t, c, "b", "a")
}

func TestRegistered(t *testing.T) {
	f, g := flows(t)
	c := New(key, 0)
	put(t, c, binding("a", "1001@x", f))
	if aor, ok := c.Registered(f.ID(), epoch); !ok || aor != "1001@x" {
		t.Errorf("%q, %v", aor, ok)
	}
	if _, ok := c.Registered(g.ID(), epoch); ok {
		t.Error("a flow without a binding counts as registered")
	}
	if _, ok := c.Registered(f.ID(), epoch.Add(time.Minute)); ok {
		t.Error("an expired binding counts")
	}
}

func TestRemoveFlowAndAOR(t *testing.T) {
	f, g := flows(t)
	c := New(key, 0)
	put(t, c, binding("a", "1001@x", f))
	put(t, c, binding("b", "1002@x", f))
	put(t, c, binding("c", "1001@x", g))
	c.RemoveAOR("nobody@x")
	c.RemoveFlow("no flow")
	wants(t, c, "abc", "")
	c.RemoveAOR("1001@x")
	wants(t, c, "b", "ac")
	c.RemoveFlow(f.ID())
	wants(t, c, "", "abc")
}

func TestExpire(t *testing.T) {
	f, _ := flows(t)
	c := New(key, 0)
	b := binding("a", "1001@x", f)
	b.Expires = epoch
	put(t, c, b)
	put(t, c, binding("b", "1001@x", f))
	if n := c.Expire(epoch); n != 1 {
		t.Errorf("%d left", n)
	}
	wants(t, c, "b", "a")
}

func TestFull(t *testing.T) {
	f, g := flows(t)
	c := New(key, 2)
	put(t, c, binding("a", "1001@x", f))
	put(t, c, binding("b", "1002@x", f))
	if err := c.Put(binding("c", "1003@x", g)); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	wants(t, c, "ab", "c")
	put(t, c, binding("a", "1001@x", g)) // a refresh needs no room
	if New(key, 0).max != DefaultMax {
		t.Error("a cache without a bound")
	}
}

func TestManyAtOnce(t *testing.T) {
	f, g := flows(t)
	c := New(key, 50)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 200 {
				token := fmt.Sprint(i % 20)
				flow := f
				if i%3 == 0 {
					flow = g
				}
				_ = c.Put(binding(token, "1001@x", flow))
				c.Get(token, epoch)
				c.Registered(f.ID(), epoch)
				switch n {
				case 0:
					c.Remove(token)
				case 1:
					c.RemoveFlow(g.ID())
				case 2:
					c.Expire(epoch.Add(time.Hour))
				}
			}
		})
	}
	wg.Wait()
	c.RemoveAOR("1001@x")
	wants(t, c, "", "")
}

// TestGone tells of each binding that left, once, while the cache can be asked; a refresh is none that left.
func TestGone(t *testing.T) {
	f, g := flows(t)
	c := New(key, 0)
	var gone []string
	c.OnGone(func(b *Binding) {
		c.Proven(b.AOR, b.Flow.Remote().Addr(), epoch)
		gone = append(gone, b.Token)
	})
	said := func(want ...string) {
		t.Helper()
		if !slices.Equal(gone, want) {
			t.Errorf("gone: %q, want %q", gone, want)
		}
		gone = nil
	}
	proven := func(token, aor string, f *transport.Flow) Binding {
		b := binding(token, aor, f)
		b.Proven = true
		return b
	}
	put(t, c, proven("a", "1001@x", f))
	put(t, c, proven("a", "1001@x", f))
	said()
	put(t, c, binding("a", "1001@x", f)) // the same phone, but by now anybody may say so
	said("a")
	put(t, c, proven("b", "1002@x", f))
	put(t, c, proven("c", "1003@x", g))
	c.Remove("nobody")
	c.Remove("a")
	said("a")
	c.RemoveAOR("1002@x")
	said("b")
	c.RemoveFlow(g.ID())
	said("c")
	put(t, c, proven("d", "1001@x", f))
	c.Expire(epoch)
	said()
	c.Expire(epoch.Add(time.Hour))
	said("d")
}

// TestProven finds the last proven binding of an account from an address.
func TestProven(t *testing.T) {
	f, _ := flows(t)
	c := New(key, 0)
	src := f.Remote().Addr()
	add := func(token, aor string, proven bool, life time.Duration) {
		b := binding(token, aor, f)
		b.Proven, b.Expires = proven, epoch.Add(life)
		put(t, c, b)
	}
	add("a", "1001@x", true, time.Minute)
	add("b", "1001@x", true, 2*time.Minute)
	add("c", "1001@x", false, 3*time.Minute)
	add("d", "1002@x", false, 3*time.Minute)
	if until, ok := c.Proven("1001@x", src, epoch); !ok || !until.Equal(epoch.Add(2*time.Minute)) {
		t.Errorf("until %v, %v", until, ok)
	}
	if _, ok := c.Proven("1001@x", src, epoch.Add(2*time.Minute)); ok {
		t.Error("what has expired is proven")
	}
	if _, ok := c.Proven("1002@x", src, epoch); ok {
		t.Error("what nobody proved is proven")
	}
	if _, ok := c.Proven("1001@x", netip.MustParseAddr("203.0.113.9"), epoch); ok {
		t.Error("another address is proven")
	}
}
