package exchange

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/database"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/cdr"
	"brickhouse/shared/pki"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// serverTLS is a server with the certificate name.crt.
func (r *rig) serverTLS(name string) *tls.Config {
	r.Helper()
	cert, err := pki.Load(r.path(name+".crt"), r.path(name+".key"), pki.Check{Now: time.Now()})
	if err != nil {
		r.Fatal(err)
	}
	return transport.ServerTLS(&tls.Config{Certificates: []tls.Certificate{*cert}})
}

// TestStartFails holds that each fault is named, and that nothing stays open.
func TestStartFails(t *testing.T) {
	r := prepare(t)
	good := r.cfg
	r.issue("client", pki.Client, "sbc.test")
	p := transactiontest.New(t, "other")
	p.Listen(transport.UDP, r.at(exchangeHost, 5099), nil)
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
		check  bool // Check finds it, too
	}{
		"dialplan":       {func(c *Config) { c.Dialplan = r.path("nothing") }, "nothing: no such file", true},
		"state":          {func(c *Config) { c.State = r.path("ca.crt") }, "making the state directory", false},
		"secrets":        {func(c *Config) { c.Secrets.File.Path = r.path("ca.crt") }, "secrets: ", false},
		"secrets' key":   {func(c *Config) { c.Secrets.File.Key = r.path("nothing") }, "secrets: ", false},
		"records":        {func(c *Config) { c.CDR = r.path("ca.crt") }, "opening the call records", false},
		"media":          {func(c *Config) { c.Media.MinPort = 1 }, "media: ", false},
		"core cert":      {func(c *Config) { c.Core.Certificate, c.Core.Key = r.path("client.crt"), r.path("client.key") }, "core: ", true},
		"core authority": {func(c *Config) { c.Core.CA = r.path("pbx.key") }, "core.ca: ", true},
		"API's cert": {func(c *Config) {
			c.API.Listen, c.API.Certificate, c.API.Key = r.at(exchangeHost, 5099), r.path("client.crt"), r.path("client.key")
		}, "api: ", true},
		"phones' cert": {func(c *Config) { c.Phones.TLS.Key = r.path("client.key") }, "phones.tls: ", true},
		"port":         {func(c *Config) { c.Phones.Interfaces[0].Listen = r.at(exchangeHost, 5099) }, "phones.interfaces[0].listen: ", false},
		"core port":    {func(c *Config) { c.Core.Listen = r.at(exchangeHost, phonePort); c.Phones.Interfaces = nil; taken(r, p) }, "core.listen: ", false},
	} {
		r.cfg = good
		r.cfg.Phones.Interfaces = append(good.Phones.Interfaces[:0:0], good.Phones.Interfaces...)
		c.change(&r.cfg)
		x, err := r.try()
		if err == nil {
			x.Close()
			t.Fatalf("%s: it starts", name)
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if err := Check(&r.cfg); (err != nil) != c.check {
			t.Errorf("%s: check says %v", name, err)
		}
	}
	r.cfg = good
	r.cfg.Core.Listen = r.at(exchangeHost, corePort+1)
	r.cfg.Phones.Interfaces = good.Phones.Interfaces[:1]
	if err := Check(&r.cfg); err != nil {
		t.Errorf("check: %v", err)
	}
	x, err := r.try()
	if err != nil {
		t.Fatalf("something stayed open: %v", err)
	}
	x.Close()
	x.Run(t.Context()) // returns, since it is closed
}

// taken takes the port that core.listen is to have in TestStartFails.
func taken(r *rig, p *transactiontest.Party) {
	r.Helper()
	p.Listen(transport.TCP, r.at(exchangeHost, phonePort), nil)
}

// TestReload takes a new dialplan and new certificates, or nothing of both.
func TestReload(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	b := r.border()
	dial := func(number string, code int) {
		t.Helper()
		asked, ask := p.invite(number)
		res := asked.Response(code)
		if code == 200 {
			p.Do(p.flow, ask.Within(res, sip.BYE), 200)
		}
	}
	dial("*43", 200)
	core, phones := r.x.coreCerts.Leaf(), r.x.phoneCerts.Leaf()
	r.issue("pbx", pki.Server, "pbx.test")
	r.write("dialplan.yaml", "rules: [{number: \"*44\", do: echo}, {number: \"5.\", do: trunk, trunk: nobody}]")
	if err := r.x.Reload(t.Context(), r.cfg); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("a dialplan with an unknown trunk: %v", err)
	}
	if r.x.coreCerts.Leaf() != core || r.x.phoneCerts.Leaf() != phones {
		t.Error("half a reload")
	}
	dial("*43", 200)

	r.write("dialplan.yaml", "rules: [{number: \"*44\", do: echo}]")
	if err := os.WriteFile(r.path("pbx.crt"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.x.Reload(t.Context(), r.cfg); err == nil {
		t.Error("a bad certificate, and nothing is said")
	}
	dial("*43", 200)

	r.issue("pbx", pki.Server, "pbx.test")
	next := r.cfg
	next.Trunks = []Trunk{{Name: "other", Domain: "x"}} // takes a restart
	if err := r.x.Reload(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if r.x.coreCerts.Leaf().Equal(core) || r.x.phoneCerts.Leaf().Equal(phones) {
		t.Error("the old certificates are shown")
	}
	dial("*43", 404)
	dial("*44", 200)
	noted, err := r.x.Audit(t.Context(), database.Query{Target: "dialplan", Limit: 9})
	if err != nil || len(noted) != 1 || !strings.Contains(string(noted[0].Before), `"rules[0].number":"*43"`) || !strings.Contains(string(noted[0].After), `"rules[0].number":"*44"`) {
		t.Errorf("the audit of the dialplan: %+v, %v", noted, err)
	}
	b.Do(b.flow, transactiontest.NewAsk(sip.OPTIONS, "sip:"+domain, "sip:"+domain, "sip:"+domain), 200) // the link stands
}

// TestRestart: extensions and registrations outlive a restart; calls of the last run are forgotten, their records closed.
func TestRestart(t *testing.T) {
	r := prepare(t)
	stop := r.start()
	if err := r.x.AddExtension(t.Context(), store.Extension{Number: "1001", Name: "A"}, password); err != nil {
		t.Fatal(err)
	}
	p := r.phone("1001", transport.UDP, 50)
	p.register()
	// What a crash leaves: a row, and a record that was begun.
	if _, err := r.x.store.PutCall(t.Context(), &store.Call{ID: "cut", State: store.CallUp, Started: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := r.x.cdr.Begin(cdr.Record{ID: "cut", Start: time.Now(), Caller: "1001"}); err != nil {
		t.Fatal(err)
	}
	stop()
	r.start()
	if rows := r.x.Store().Calls(); len(rows) != 0 {
		t.Errorf("calls: %+v", rows)
	}
	if rows := r.x.Store().Bindings("1001", r.x.now()); len(rows) != 1 {
		t.Errorf("bindings: %+v", rows)
	}
	files, err := os.ReadDir(r.cfg.cdrDir())
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range files {
		text, err := os.ReadFile(r.path("state/cdr/" + f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found = found || strings.HasPrefix(f.Name(), "cdr-") && strings.Contains(string(text), `"id":"cut"`) && strings.Contains(string(text), string(verdict.SystemFailure))
	}
	if !found {
		t.Errorf("the record of the call that was cut is not in %v", files)
	}
	p.register()
}

// TestExpiry: a registration that is not refreshed ends.
func TestExpiry(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	p.register("Expires: 1")
	r.eventually("the binding to be deleted", func() bool { return len(r.x.Store().AllBindings(time.Time{})) == 0 })
}

// TestHangup ends a call by command, and Close ends those that are left, with their records.
func TestHangup(t *testing.T) {
	r := prepare(t)
	stop := r.start()
	if err := r.x.AddExtension(t.Context(), store.Extension{Number: "1001"}, password); err != nil {
		t.Fatal(err)
	}
	p := r.phone("1001", transport.UDP, 50)
	call := func() {
		t.Helper()
		asked, ask := p.invite("*43")
		p.Ask(p.flow, ask.Within(asked.Response(200), sip.ACK))
	}
	call()
	if r.x.Hangup("nobody") || !r.x.Hangup(r.x.Calls()[0].ID) {
		t.Error("hang-up by ID")
	}
	p.Answer(p.Next(sip.BYE), 200, "")
	r.eventually("the call to end", func() bool { return len(r.x.Calls()) == 0 })
	call()
	done := make(chan struct{})
	go func() { defer close(done); stop() }()
	p.Answer(p.Next(sip.BYE), 200, "")
	<-done
	files, err := os.ReadDir(r.cfg.cdrDir())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		text, _ := os.ReadFile(r.path("state/cdr/" + f.Name()))
		if strings.HasPrefix(f.Name(), "cdr-") {
			n += strings.Count(string(text), `"disposition":"answered"`)
		}
	}
	if n != 2 {
		t.Errorf("%d records of 2 calls", n)
	}
}
