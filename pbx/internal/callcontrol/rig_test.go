package callcontrol

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/music"
	"brickhouse/pbx/internal/prompt"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/cdr"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/state/memlog"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/transport/transporttest"
	"brickhouse/shared/verdict"
)

const offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"

// rules of the dialplan that tests call through.
var rules = []dialplan.Rule{
	{Number: "*43", From: dialplan.FromPhones, Do: "echo"},
	{Number: "*44", From: dialplan.FromPhones, Do: "milliwatt"},
	{Number: "0900.", From: dialplan.FromPhones, Do: "refuse"},
	{Number: "00.", From: dialplan.FromPhones, Do: "trunk", Trunk: "elsewhere"},
	{Number: "0!", From: dialplan.FromPhones, Do: "trunk", Trunk: "carrier", Strip: 1},
	{Number: "4930.", From: "carrier", Do: "extension", Extension: "1001"},
	{Number: "1XXX", From: dialplan.FromPhones, Do: "extension"},
}

// noPINs are those of rooms that have none.
type noPINs struct{}

func (noPINs) Has(context.Context, string) (bool, error)           { return false, nil }
func (noPINs) Opens(context.Context, string, string) (bool, error) { return false, nil }

// rig is a call control with its engine, on a UDP socket, and the parties around it.
type rig struct {
	t       *testing.T
	store   *store.Store
	cdr     *cdr.Writer
	dir     string // of the records
	engine  *b2bua.Engine
	control *Control
	server  *transport.Interface

	caller *transactiontest.Party
	flow   *transport.Flow // from caller to us
	who    Caller
	phones map[string]*transactiontest.Party // by address
	border *transactiontest.Party
	bFlow  *transport.Flow // from us to the border; nil: not connected

	started chan verdict.Verdict // what Start said

	mu sync.Mutex // guards who and bFlow once the socket is served
}

func newRig(t *testing.T, change func(*Config, *b2bua.Config)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), phones: map[string]*transactiontest.Party{}, started: make(chan verdict.Verdict, 64),
		who: Caller{Number: "1009", Name: "Nina", Realm: Inside, Trace: "trace-1"}}
	r.openStore()
	var err error
	if r.cdr, _, err = cdr.Open(r.dir, time.Now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cdr.Close() })
	m, err := media.New(media.Config{MinPort: 12000, MaxPort: 12999, Silence: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	plan, err := dialplan.Compile(dialplan.File{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	sounds, err := prompt.English()
	if err != nil {
		t.Fatal(err)
	}
	piece, err := music.Load(music.Config{})
	if err != nil {
		t.Fatal(err)
	}
	layer := transaction.New(transaction.DefaultTimers(), r, nil)
	ec := b2bua.Config{Transactions: layer, Timers: transaction.DefaultTimers(), Log: slog.New(slog.DiscardHandler)}
	cfg := Config{
		Domain: "pbx.test", Node: "solo", Transactions: layer, Store: r.store, CDR: r.cdr, Media: m, Lines: r, Dialplan: plan, Prompts: prompt.NewLibrary(sounds), Music: piece, RoomPINs: RoomPINs{noPINs{}, noPINs{}},
		Phones: policy("phones"), Border: policy("border"), Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Trunks: map[string]Trunk{"carrier": {Name: "carrier", Domain: "carrier.test"}},
	}
	if change != nil {
		change(&cfg, &ec)
	}
	r.engine = b2bua.New(ec)
	cfg.Engine = r.engine
	r.control = New(cfg)
	r.serve(layer)
	r.caller = transactiontest.New(t, "caller")
	r.flow = r.caller.Flow(transport.UDP, netip.MustParseAddr("127.0.0.1"), r.server.Local(), nil)
	r.border = transactiontest.New(t, "border")
	i := r.border.Listen(transport.UDP, netip.MustParseAddrPort("127.0.0.1:0"), nil)
	r.set(func() { r.bFlow = r.server.FlowTo(i.Local()) })
	return r
}

func (r *rig) openStore() {
	log, err := memlog.NewDisk().Open("solo", store.Tables()...)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.store, err = store.Open(r.t.Context(), log, store.Options{Flush: time.Millisecond}); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.store.Close() })
	if _, err := r.store.PutExtension(r.t.Context(), &store.Extension{Number: "1009"}); err != nil {
		r.t.Fatal(err)
	}
}

// serve opens our socket.
func (r *rig) serve(layer *transaction.Layer) {
	h := &transporttest.Recorder{OnMessage: layer.Message, OnClosed: layer.FlowClosed}
	var err error
	r.server, err = transport.Listen(transport.Config{Name: "us", Network: transport.UDP, Listen: netip.MustParseAddrPort("127.0.0.1:0")}, h)
	if err != nil {
		r.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = r.server.Serve(context.Background()) }()
	r.t.Cleanup(func() {
		r.engine.Close(0)
		r.server.Close()
		<-done
		layer.Close()
	})
}

func policy(name string) *b2bua.LegPolicy {
	return &b2bua.LegPolicy{Allow: "INVITE, ACK, CANCEL, BYE, REFER", Contact: func(f *transport.Flow) sip.Uri {
		host, port := f.ViaHost()
		return sip.Uri{Scheme: "sip", User: name, Host: host, Port: port}
	}}
}

// Request implements transaction.User as the exchange does.
func (r *rig) Request(s *transaction.Server) {
	req := s.Request()
	if tag, _ := sipmsg.Param(req.To().Params, "tag"); tag != "" {
		if !r.engine.Request(s) {
			_ = s.Respond(sipmsg.Response(req, 481, "", ""))
		}
		return
	}
	r.mu.Lock()
	who := r.who
	r.mu.Unlock()
	v := r.control.Start(s, who, req.Recipient.User)
	if !v.OK() {
		_ = s.Respond(sipmsg.Response(req, v.Code, "", ""))
	}
	r.started <- v
}

func (r *rig) Ack(f *transport.Flow, req *sip.Request)    { r.engine.Ack(f, req) }
func (r *rig) Stray(_ *transport.Flow, res *sip.Response) { r.engine.Stray(res) }
func (r *rig) Border(context.Context) (*transport.Flow, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bFlow == nil {
		return nil, errors.New("no border")
	}
	return r.bFlow, nil
}

// Phone implements Lines.
func (r *rig) Phone(b *store.Binding) func(context.Context) (*transport.Flow, error) {
	return func(context.Context) (*transport.Flow, error) { return r.server.FlowTo(b.Remote), nil }
}

// extension adds an extension with a phone inside.
func (r *rig) extension(number string) *transactiontest.Party {
	r.t.Helper()
	p := transactiontest.New(r.t, "phone "+number)
	at := p.Listen(transport.UDP, netip.MustParseAddrPort("127.0.0.1:0"), nil).Local()
	r.bind(number, "sip:"+number+"@"+at.String(), func(b *store.Binding) { b.Remote = at })
	return p
}

// bind registers a contact, for an extension that is made if it is not there.
func (r *rig) bind(number, contact string, change func(*store.Binding)) {
	r.t.Helper()
	if _, ok := r.store.Extension(number); !ok {
		if _, err := r.store.PutExtension(r.t.Context(), &store.Extension{Number: number}); err != nil {
			r.t.Fatal(err)
		}
	}
	b := &store.Binding{
		ID: store.BindingID(number, contact, "", 0), AOR: number, ContactURI: contact, CallID: "c", CSeq: 1, Network: "udp",
		Registered: time.Now(), Expires: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(b)
	}
	if _, err := r.store.PutBindings(r.t.Context(), b); err != nil {
		r.t.Fatal(err)
	}
}

// dial sends an INVITE, and waits for what Start says.
func (r *rig) dial(number string, change func(*transactiontest.Ask)) (*transactiontest.Asked, verdict.Verdict) {
	r.t.Helper()
	a := transactiontest.NewAsk(sip.INVITE, "sip:"+number+"@pbx.test", "sip:1009@pbx.test", "sip:"+number+"@pbx.test")
	a.Body = offer
	if change != nil {
		change(&a)
	}
	asked := r.caller.Ask(r.flow, a)
	select {
	case v := <-r.started:
		return asked, v
	case <-time.After(transactiontest.Patience):
		r.t.Fatal("the INVITE does not arrive")
	}
	return nil, verdict.Verdict{}
}

// bye ends a call from the caller's side.
func (r *rig) bye(a *transactiontest.Asked, res *sip.Response) {
	r.t.Helper()
	r.caller.Do(r.flow, a.Sent.Within(res, sip.BYE), 200)
}

// set changes who calls, or the border.
func (r *rig) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// eventually waits until what returns "".
func eventually(t testing.TB, what func() string) {
	t.Helper()
	var last string
	for end := time.Now().Add(transactiontest.Patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if last = what(); last == "" {
			return
		}
	}
	t.Fatal(last)
}

// over waits until no call is left, and returns the one record there must be.
func (r *rig) over() cdr.Record {
	r.t.Helper()
	all := r.records()
	eventually(r.t, func() string {
		if all = r.records(); len(all) == 0 {
			return "there is no record"
		}
		if len(r.store.Calls()) > 0 {
			return "the call's row stays"
		}
		return ""
	})
	if len(all) != 1 {
		r.t.Fatalf("%d records: %+v", len(all), all)
	}
	if s := r.cdr.Stats(); s.Open != 0 || s.Waiting != 0 || s.Written != 1 {
		r.t.Errorf("records: %+v", s)
	}
	return all[0]
}

// records reads what is on disk.
func (r *rig) records() []cdr.Record {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "cdr-*.jsonl"))
	if err != nil {
		r.t.Fatal(err)
	}
	var out []cdr.Record
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			r.t.Fatal(err)
		}
		err = cdr.Read(f, func(rec cdr.Record) error { out = append(out, rec); return nil })
		f.Close()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return out
}

// row waits until the only call is in that state.
func (r *rig) row(state store.CallState) *store.Call {
	r.t.Helper()
	var row *store.Call
	eventually(r.t, func() string {
		rows := r.store.Calls()
		if len(rows) != 1 || rows[0].State != state {
			return "no call is " + string(state)
		}
		row = rows[0]
		return ""
	})
	return row
}
