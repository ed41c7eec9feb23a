package border

import (
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"brickhouse/sbc/internal/banapi"
	"brickhouse/shared/telemetry"
)

// ask posts a ban to the border's endpoint, and returns the status; 0 if nobody answers.
func (r *rig) ask(key, addr string) int {
	r.Helper()
	body := `[{"scenario":"test","decisions":[{"duration":"1h","scope":"ip","value":"` + addr + `","type":"ban"}]}]`
	q, err := http.NewRequest("POST", "http://"+r.cfg.BanAPI.Listen.String()+"/v1/alerts", strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	q.Header.Set("X-Api-Key", key)
	q.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(q)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// Other tools ban through a running border; a reload takes their rights away, and the never-ban list is the border's.
func TestBanAPI(t *testing.T) {
	key, sum := banapi.NewKey()
	r := newRig(t, func(c *Config) {
		var one banapi.Token
		one.SetDefaults()
		one.Name, one.SHA256, one.Scope = "tool", sum, banapi.ScopeBan
		c.BanAPI = banapi.Config{Listen: netip.MustParseAddrPort(strings.Replace(c.Core.Exchange, ":5070", ":8780", 1)), Tokens: []banapi.Token{one}}
	})
	if got := r.ask(key, "192.0.2.7"); got != 201 {
		t.Error(got)
	}
	if got := r.ask(key, r.addr(carrierHost)); got != 409 {
		t.Errorf("a trunk: %d", got)
	}
	if list := r.b.guard.List(); len(list) != 1 || list[0].By != "api:tool" {
		t.Errorf("%+v", list)
	}
	cfg := r.cfg
	cfg.BanAPI.Tokens = nil
	if err := r.b.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if got := r.ask(key, "192.0.2.8"); got != 401 {
		t.Errorf("after the reload: %d", got)
	}
	r.b.Close()
	if got := r.ask(key, "192.0.2.8"); got != 0 {
		t.Errorf("after the end: %d", got)
	}
}

// A taken port is told by its key, and nothing stays open.
func TestBanAPITaken(t *testing.T) {
	r := newRig(t, nil)
	cfg := r.cfg
	cfg.Access, cfg.Peer, cfg.State = Access{}, Peer{}, r.path("other")
	cfg.BanAPI.Listen = r.at(exchangeHost, 5070)
	_, err := New(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)), telemetry.NewMetrics("sbc", "test"))
	if err == nil || !strings.Contains(err.Error(), "ban_api.listen: "+cfg.BanAPI.Listen.String()+": the port is taken") {
		t.Error(err)
	}
}
