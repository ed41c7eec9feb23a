package store

import (
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"brickhouse/shared/digest"
	"brickhouse/shared/state"
	"brickhouse/shared/state/memlog"
)

var epoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func openLog(t testing.TB, disk *memlog.Disk) *memlog.Log {
	t.Helper()
	log, err := disk.Open("solo", Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func openOn(t testing.TB, disk *memlog.Disk, opts Options) (*Store, *memlog.Log) {
	t.Helper()
	log := openLog(t, disk)
	s, err := Open(t.Context(), log, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, log
}

func newStore(t testing.TB) *Store {
	t.Helper()
	s, _ := openOn(t, memlog.NewDisk(), Options{})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ok is for puts whose durability does not matter.
func ok(t testing.TB) func(_ <-chan struct{}, err error) {
	return func(_ <-chan struct{}, err error) { t.Helper(); must(t, err) }
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func await(t testing.TB, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(time.Minute):
		t.Fatalf("never: %s", what)
	}
}

func binding(aor, contact string, life time.Duration) *Binding {
	return &Binding{ID: BindingID(aor, contact, "", 0), AOR: aor, ContactURI: contact, CallID: "c", CSeq: 1, Q: 1, Expires: epoch.Add(life)}
}

func full() (*Extension, *Binding, *Call) {
	e := &Extension{Number: "1001", Name: "Alice", Algorithms: []digest.Algorithm{digest.SHA256, digest.MD5}, LegacyDigest: true, CreatedAt: epoch}
	b := &Binding{
		ID: "1001 1 <urn:x>", AOR: "1001", ContactURI: "sip:a@10.0.0.1;transport=tls", Path: []string{"sip:p1;lr", "sip:p2;lr"},
		Instance: "<urn:x>", RegID: 1, CallID: "cid", CSeq: 7, Q: 0.5, UserAgent: "ua", Registered: epoch, Expires: epoch.Add(time.Hour),
		Outside: true, Interface: "core", Network: "tls", Remote: netip.MustParseAddrPort("[2001:db8::1]:5061"), FlowID: "f",
	}
	c := &Call{
		ID: "call", Trace: "t", State: CallUp, Direction: "outbound", Caller: "1001", Callee: "1002", Dialled: "0123", Trunk: "carrier",
		Node: "solo", Started: epoch, Answered: epoch.Add(time.Second),
	}
	return e, b, c
}

// plain is a row without what the store adds to it.
func plain[T any, P rowPtr[T]](r P) T {
	c := *r
	*P(&c).meta() = row{}
	return c
}

func TestRowsComeBack(t *testing.T) {
	disk := memlog.NewDisk()
	s, _ := openOn(t, disk, Options{})
	e, b, c := full()
	check := func(s *Store) {
		t.Helper()
		e2, _ := s.Extension("1001")
		c2, _ := s.Call("call")
		b2 := s.Bindings("1001", epoch)
		if e2 == nil || c2 == nil || len(b2) != 1 {
			t.Fatalf("%v %v %v", e2, c2, b2)
		}
		if got := plain(e2); !reflect.DeepEqual(got, plain(e)) {
			t.Errorf("got  %+v\nwant %+v", got, plain(e))
		}
		if got := plain(b2[0]); !reflect.DeepEqual(got, plain(b)) {
			t.Errorf("got  %+v\nwant %+v", got, plain(b))
		}
		if got := plain(c2); !reflect.DeepEqual(got, plain(c)) {
			t.Errorf("got  %+v\nwant %+v", got, plain(c))
		}
	}
	ok(t)(s.PutExtension(t.Context(), e))
	ok(t)(s.PutBindings(t.Context(), b))
	ok(t)(s.PutCall(t.Context(), c))
	check(s)
	must(t, s.Close())
	s, _ = openOn(t, disk, Options{})
	check(s)
	// The second life's changes are newer than the first's, though its counter starts again.
	e.Name = "Alicia"
	ok(t)(s.PutExtension(t.Context(), e))
	ok(t)(s.DeleteCall(t.Context(), "call"))
	must(t, s.Flush(t.Context()))
	must(t, s.Close())
	s, _ = openOn(t, disk, Options{})
	if e, _ := s.Extension("1001"); e.Name != "Alicia" {
		t.Errorf("%+v", e)
	}
	if c, there := s.Call("call"); there {
		t.Errorf("deleted and back: %+v", c)
	}
}

// The values in the log, byte for byte: other programs and later versions read them.
func TestValues(t *testing.T) {
	e, b, c := full()
	for want, got := range map[string]func() ([]byte, error){
		`{"v":1,"number":"1001","name":"Alice","algorithms":["SHA-256","MD5"],"legacy_digest":true,"created_at":"2026-11-21T12:00:00Z"}`: func() ([]byte, error) { return encode(e, &e.row) },
		`{"v":1,"id":"1001 1 \u003curn:x\u003e","aor":"1001","contact":"sip:a@10.0.0.1;transport=tls","path":["sip:p1;lr","sip:p2;lr"],` +
			`"instance":"\u003curn:x\u003e","reg_id":1,"call_id":"cid","cseq":7,"q":0.5,"user_agent":"ua","registered":"2026-11-21T12:00:00Z",` +
			`"expires":"2026-11-21T13:00:00Z","outside":true,"interface":"core","network":"tls","remote":"[2001:db8::1]:5061","flow":"f"}`: func() ([]byte, error) { return encode(b, &b.row) },
		`{"v":1,"id":"call","trace":"t","state":"up","direction":"outbound","caller":"1001","callee":"1002","dialled":"0123","trunk":"carrier",` +
			`"node":"solo","started":"2026-11-21T12:00:00Z","answered":"2026-11-21T12:00:01Z"}`: func() ([]byte, error) { return encode(c, &c.row) },
		`{"v":1,"number":"1"}`: func() ([]byte, error) { return encode(&Extension{Number: "1"}, &row{}) },
	} {
		if v, err := got(); string(v) != want || err != nil {
			t.Errorf("%v\ngot  %s\nwant %s", err, v, want)
		}
	}
}

func appendTo(t *testing.T, log state.Log, table, id, val string, ver state.Ver, by state.NodeID) {
	t.Helper()
	done := make(chan error, 1)
	log.Append(state.Change{Key: state.Key{Table: table, Shard: "0", ID: id}, Ver: ver, Val: []byte(val), Del: val == "", By: by},
		func(_ uint64, err error) { done <- err })
	must(t, <-done)
}

// A row that a newer program wrote keeps what we don't know when it is read, changed and put.
func TestUnknownFieldsAreKept(t *testing.T) {
	disk := memlog.NewDisk()
	log := openLog(t, disk)
	appendTo(t, log, "extensions", "1001", `{"v":1,"number":"1001","name":"a","colour":{"r":1},"z":[2]}`, state.Ver{Epoch: 0, Seq: 1}, "x")
	must(t, log.Close())
	s, _ := openOn(t, disk, Options{})
	e, _ := s.Extension("1001")
	changed := *e
	changed.Name = "b"
	ok(t)(s.PutExtension(t.Context(), &changed))
	must(t, s.Close())
	log = openLog(t, disk)
	var got string
	ctx, cancel := context.WithCancel(t.Context())
	must(t, log.Follow(ctx, "extensions", nil, func(cs []state.Change) { got = string(cs[0].Val) }, cancel))
	if want := `{"colour":{"r":1},"name":"b","number":"1001","v":1,"z":[2]}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	log.Close()
}

func TestOpenRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		table, id, val string
		want           error
		says           string
	}{
		"newer format":   {"extensions", "1", `{"v":2,"number":"1"}`, nil, "newer than format 1"},
		"no format":      {"extensions", "1", `{"number":"1"}`, state.ErrCorrupt, "extensions/0/1"},
		"no JSON":        {"bindings", "1", `{`, state.ErrCorrupt, "bindings/0/1"},
		"wrong type":     {"calls", "1", `{"v":1,"id":7}`, state.ErrCorrupt, "calls/0/1"},
		"another's key":  {"calls", "1", `{"v":1,"id":"2"}`, state.ErrCorrupt, `"2"`},
		"key with a NUL": {"calls", "a\x00", `{"v":1,"id":"a\u0000"}`, ErrBadRow, "calls"},
	} {
		disk := memlog.NewDisk()
		log := openLog(t, disk)
		appendTo(t, log, tt.table, tt.id, tt.val, state.Ver{Epoch: 1, Seq: 1}, "x")
		s, err := Open(t.Context(), log, Options{})
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
		if s != nil {
			t.Errorf("%s: a store all the same", name)
		}
		openLog(t, disk).Close() // Open let go of the log
	}
	// The node's name is somebody else's.
	disk := memlog.NewDisk()
	other, err := disk.Open("other", Tables()...)
	must(t, err)
	_, err = other.Claim(t.Context(), "solo", time.Hour)
	must(t, err)
	must(t, other.Close())
	if _, err := Open(t.Context(), openLog(t, disk), Options{}); !errors.Is(err, state.ErrHeld) {
		t.Errorf("claimed: %v", err)
	}
	// Open gives up with its context.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Open(ctx, openLog(t, memlog.NewDisk()), Options{}); err == nil {
		s.Close() // it may have been quick enough
	}
}

// What another node writes is applied if it is newer.
func TestChangesOfOthers(t *testing.T) {
	s, log := openOn(t, memlog.NewDisk(), Options{})
	ok(t)(s.PutExtension(t.Context(), &Extension{Number: "1", Name: "ours"}))
	must(t, s.Flush(t.Context()))
	_, changed := s.WatchExtensions()
	appendTo(t, log, "extensions", "1", `{"v":1,"number":"1","name":"theirs"}`, state.Ver{Epoch: 9, Seq: 1}, "other")
	await(t, changed, "change of another node")
	if e, _ := s.Extension("1"); e.Name != "theirs" {
		t.Errorf("%+v", e)
	}
	_, changed = s.WatchExtensions()
	appendTo(t, log, "extensions", "2", `{"v":1,"number":"2"}`, state.Ver{Epoch: 9, Seq: 2}, "other")
	await(t, changed, "new row of another node")
	_, changed = s.WatchExtensions()
	appendTo(t, log, "extensions", "2", "", state.Ver{Epoch: 9, Seq: 3}, "other")
	await(t, changed, "deletion by another node")
	if _, there := s.Extension("2"); there {
		t.Error("deleted and still there")
	}
}

func TestLimitsAndBadRows(t *testing.T) {
	s, _ := openOn(t, memlog.NewDisk(), Options{MaxExtensions: 2, MaxBindings: 3, MaxCalls: 1})
	for i := range 4 {
		_, err := s.PutExtension(t.Context(), &Extension{Number: fmt.Sprint(i)})
		if got := errors.Is(err, ErrFull); got != (i >= 2) {
			t.Errorf("extension %d: %v", i, err)
		}
	}
	ok(t)(s.PutExtension(t.Context(), &Extension{Number: "1", Name: "replaced"}))
	ok(t)(s.PutBindings(t.Context(), binding("1", "a", 0), binding("1", "b", 0)))
	if _, err := s.PutBindings(t.Context(), binding("1", "c", 0), binding("1", "d", 0)); !errors.Is(err, ErrFull) || len(s.AllBindings(epoch.Add(-1))) != 2 {
		t.Errorf("all or none: %v", err)
	}
	ok(t)(s.PutBindings(t.Context(), binding("1", "a", 0), binding("1", "c", 0)))
	ok(t)(s.PutCall(t.Context(), &Call{ID: "a"}))
	ok(t)(s.DeleteCall(t.Context(), "a"))
	ok(t)(s.PutCall(t.Context(), &Call{ID: "b"}))
	if _, err := s.PutCall(t.Context(), &Call{ID: "c"}); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	for _, id := range []string{"", "a\x00b", strings.Repeat("x", state.MaxID+1)} {
		_, e1 := s.PutExtension(t.Context(), &Extension{Number: id})
		_, e2 := s.PutBindings(t.Context(), &Binding{ID: id, AOR: "1"})
		_, e3 := s.PutBindings(t.Context(), &Binding{ID: "x", AOR: id})
		_, e4 := s.PutCall(t.Context(), &Call{ID: id})
		for i, err := range []error{e1, e2, e3, e4} {
			if !errors.Is(err, ErrBadRow) {
				t.Errorf("%d, %.10q: %v", i, id, err)
			}
		}
	}
}

// Readers see a put when it returns; durable closes when the log has it and not before.
func TestDurable(t *testing.T) {
	s, log := openOn(t, memlog.NewDisk(), Options{Flush: 10 * time.Millisecond})
	log.Hold()
	durable, err := s.PutBindings(t.Context(), binding("1", "a", time.Hour), binding("1", "b", time.Hour))
	must(t, err)
	if len(s.Bindings("1", epoch)) != 2 || closed(durable) || s.Stats().Waiting != 2 {
		t.Errorf("%d bindings, durable %v, %+v", len(s.Bindings("1", epoch)), closed(durable), s.Stats())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flush: %v", err)
	}
	log.Release()
	await(t, durable, "durable")
	must(t, s.Flush(t.Context()))
	none, err := s.DeleteBindings(t.Context(), "never was")
	if err != nil || !closed(none) {
		t.Errorf("nothing to do: %v", err)
	}
	log.Hold()
	lost, err := s.PutCall(t.Context(), &Call{ID: "x"})
	must(t, err)
	if err := s.Close(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close with a change that can't be written: %v", err)
	}
	if closed(lost) {
		t.Error("lost, and told to be durable")
	}
}

func TestClosed(t *testing.T) {
	s := newStore(t)
	ok(t)(s.PutExtension(t.Context(), &Extension{Number: "1"}))
	must(t, s.Close())
	must(t, s.Close())
	if _, err := s.PutExtension(t.Context(), &Extension{Number: "2"}); !errors.Is(err, ErrClosed) {
		t.Errorf("put: %v", err)
	}
	if n, err := s.Expire(t.Context(), epoch); !errors.Is(err, ErrClosed) || n != 0 {
		t.Errorf("expire: %v", err)
	}
	if _, there := s.Extension("1"); !there {
		t.Error("readers are served to the last")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newStore(t).PutExtension(ctx, &Extension{Number: "2"}); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

// Many writers at once, and a close in the middle: each put that was told to be done is there.
func TestManyWriters(t *testing.T) {
	disk := memlog.NewDisk()
	s, _ := openOn(t, disk, Options{})
	var mu sync.Mutex
	done := map[string]bool{}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 100 {
				id := fmt.Sprintf("%d-%d", g, i)
				_, err := s.PutCall(t.Context(), &Call{ID: id, Trunk: fmt.Sprint(i % 3)})
				if errors.Is(err, ErrClosed) {
					return
				}
				must(t, err)
				mu.Lock()
				if done[id] = true; len(done) == 800 {
					go s.Close()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	must(t, s.Close())
	s, _ = openOn(t, disk, Options{})
	for id := range done {
		if _, there := s.Call(id); !there {
			t.Errorf("%s is lost", id)
		}
	}
	if n := s.w.count[tableCalls]; n != len(s.Calls()) {
		t.Errorf("%d rows are counted, %d are there", n, len(s.Calls()))
	}
}

// The store has no clock and no random: time is an argument.
func TestWall(t *testing.T) {
	files, err := filepath.Glob("*.go")
	must(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		must(t, err)
		for _, i := range f.Imports {
			if p := strings.Trim(i.Path.Value, `"`); strings.Contains(p, "rand") || p == "net" || strings.Contains(p, "nats") {
				t.Errorf("%s imports %s", name, p)
			}
		}
		b, err := os.ReadFile(name)
		must(t, err)
		if strings.Contains(string(b), "time.Now") || strings.Contains(string(b), "time.Since") {
			t.Errorf("%s looks at the clock", name)
		}
	}
}

func TestIndexes(t *testing.T) {
	for name, table := range schema().Tables {
		if len(table.Indexes) > 2 {
			t.Errorf("%s has %d indexes", name, len(table.Indexes))
		}
	}
	i := text[Call](func(c *Call) string { return c.ID })
	if _, _, err := i.FromObject(&Binding{}); err == nil {
		t.Error("a row of another type is indexed")
	}
	for _, args := range [][]any{nil, {1}, {"a", "b"}} {
		if _, err := i.FromArgs(args...); err == nil {
			t.Errorf("arguments %v are taken", args)
		}
	}
}
