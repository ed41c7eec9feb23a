package product

import (
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"brickhouse/deploy/lab"
	"brickhouse/shared/tone"
)

// sung is how loud every phone of the lab sings, dBm0, and faithful how far from it may be what arrives.
const sung, faithful = -12.0, 0.5

// phone is a foreign program with its number and what it sings.
type phone struct {
	lab.Phone
	number string
	sings  float64
	music  bool // goes on singing to whom it holds
}

func linphone(h *lab.Host, a lab.Account) phone {
	return phone{h.Linphone(a), a.User, a.Tone, true}
}

func baresip(h *lab.Host, a lab.Account) phone {
	return phone{h.Baresip(a), a.User, a.Tone, false}
}

// hears wants a tone at the level at which every phone sings.
func (p phone) hears(t *testing.T, hz float64) { t.Helper(); p.hearsAt(t, hz, sung) }

func (p phone) hearsAt(t *testing.T, hz, dBm0 float64) {
	t.Helper()
	r := p.Hears(hz)
	for range 5 { // the first half second of a call may be faded in
		if loud(r, dBm0) {
			break
		}
		r = p.Hears(hz)
	}
	t.Logf("%s hears %.1f Hz at %.1f dBm0, wanted %.0f Hz", p.number, r.Frequency, r.Level, hz)
	if !loud(r, dBm0) {
		t.Errorf("%s hears it at %.1f dBm0, want %.1f", p.number, r.Level, dBm0)
	}
}

func loud(r tone.Result, want float64) bool { return math.Abs(r.Level-want) <= faithful }

// talk connects two phones and lets each hear the other.
func talk(t *testing.T, from, to phone) {
	t.Helper()
	t.Logf("%s calls %s", from.number, to.number)
	from.Call(to.number)
	to.Answer()
	from.WaitEstablished()
	bothHear(t, from, to)
}

func bothHear(t *testing.T, a, b phone) {
	t.Helper()
	a.hears(t, b.sings)
	b.hears(t, a.sings)
}

// hold puts the other on hold and takes the call back.
func hold(t *testing.T, by, other phone) {
	t.Helper()
	t.Logf("%s holds %s", by.number, other.number)
	by.Hold()
	by.HearsNothing()
	if by.music {
		other.hears(t, by.sings)
	} else {
		other.HearsNothing()
	}
	by.Resume()
	bothHear(t, by, other)
}

// hangup ends a call.
func hangup(by, other phone) {
	by.Hangup()
	other.WaitClosed()
}

// counted are a program's counters of one family, by reason.
func (p *Product) counted(t *testing.T, program, family string) map[string]int {
	t.Helper()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", p.path(program+".sock"))
		}}}
	res, err := c.Get("http://socket/v1/metrics")
	if err != nil {
		t.Fatalf("metrics of %s: %v", program, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("metrics of %s: %s, %v", program, res.Status, err)
	}
	out := map[string]int{}
	re := regexp.MustCompile(`(?m)^brickhouse_` + program + "_" + family + `\{reason="([^"]+)"\} (\S+)$`)
	for _, m := range re.FindAllStringSubmatch(string(b), -1) {
		n, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatalf("metrics of %s: %v", program, err)
		}
		out[m[1]] = int(n)
	}
	return out
}

// refused are a program's counters of refusals.
func (p *Product) refused(t *testing.T, program string) map[string]int {
	t.Helper()
	return p.counted(t, program, "refused_total")
}

// onlyRefused wants that a program refused nothing for any other reason than these.
func (p *Product) onlyRefused(t *testing.T, program string, reasons ...string) {
	t.Helper()
	for reason, n := range p.refused(t, program) {
		if n > 0 && !slices.Contains(reasons, reason) {
			t.Errorf("%s refused %d times: %s", program, n, reason)
		}
	}
}

// seesNo wants that none of the texts stands in any message that the phone sent or got, also behind TLS.
func seesNo(t *testing.T, p phone, texts ...string) {
	t.Helper()
	trace := p.Trace()
	if !strings.Contains(trace, "SIP/2.0 200") {
		t.Errorf("the trace of %s is empty", p.number)
	}
	for _, text := range texts {
		if at := strings.Index(strings.ToLower(trace), strings.ToLower(text)); at >= 0 {
			t.Errorf("%s sees %q: …%s…", p.number, text, trace[max(0, at-300):min(len(trace), at+200)])
		}
	}
}
