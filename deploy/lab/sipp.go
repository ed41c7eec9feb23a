package lab

import (
	"bytes"
	"embed"
	"encoding/csv"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"brickhouse/shared/tone"
)

//go:embed sipp/*.xml sipp/parts.tmpl
var sippFiles embed.FS

// SIPp says what a SIPp does: as a carrier, as a load generator, as a registering contact.
type SIPp struct {
	Scenario string         // "uac", "uas", "refuse", "noanswer", "register" (files of deploy/lab/sipp)
	Server   netip.AddrPort // whom it calls; not for uas, refuse, noanswer
	Port     uint16         // its own port, 5060 if zero; see Host.Port for what it is on loopback
	TCP      bool           // instead of UDP

	Domain         string // of URIs, and the digest realm of a challenging uas; the server's or its own address if empty
	To             string // uac: the number called
	User, Password string // uac, register: its credentials; uas: those it demands, no challenge if Password is empty
	Proxy          bool   // uas: challenges with 407 instead of 401; SIPp then checks the user, but not the response
	Contact        string // register: where calls shall go; its own address and port if empty
	Status         string // refuse: "486 Busy Here" if empty

	Tone float64       // sings while it talks, Hz; 0: it sends back what it hears (RTP echo)
	Ring time.Duration // uas: from 180 to 200
	Talk time.Duration // uac: from ACK to BYE

	Calls int     // ends after so many; 0: uac and register one, the others run until stopped
	Rate  float64 // uac, register: calls begun each second; 0: one after the other
}

// SIPpRun is a SIPp at work.
type SIPpRun struct {
	*Process
	stats string
	t     TB
}

// SIPpStats is what it counted.
type SIPpStats struct {
	Created, Successful, Failed, Retransmissions int
	Elapsed                                      time.Duration
	Rate                                         float64       // calls a second, over all
	Response                                     time.Duration // mean from INVITE to 200, or from REGISTER to 200
}

// SIPp starts a SIPp on the host; one that waits for calls is ready when this returns.
func (h *Host) SIPp(s SIPp) *SIPpRun {
	h.lab.t.Helper()
	l := h.lab
	client := s.Scenario == "uac" || s.Scenario == "register"
	if s.Port == 0 {
		s.Port = 5060
	}
	s.Port = l.port(s.Port)
	from := h.addrs[h.wires[0]][0]
	for _, w := range h.wires {
		if s.Server.IsValid() && w.Prefix.Contains(s.Server.Addr()) {
			from = h.Addr(w)
		}
	}
	name := fmt.Sprintf("sipp-%s-%s-%d", s.Scenario, h.Name, serial(l, "sipp-"+s.Scenario+"-"+h.Name))
	scenario := s.render(h, name, from)
	r := &SIPpRun{t: l.t, stats: filepath.Join(l.Dir, name, "stat.csv")}
	p := Program{
		Name: name, Path: "sipp", Dir: filepath.Join(l.Dir, name), Args: s.args(from, scenario, client),
		StopSignal: syscall.SIGUSR1, // ends when its calls have
	}
	network := "udp"
	if s.TCP {
		network = "tcp"
	}
	if !client {
		p.Ready = Listening(network, netip.AddrPortFrom(from, s.Port))
	}
	r.Process = h.Run(p)
	return r
}

// args is SIPp's command line.
func (s SIPp) args(from netip.Addr, scenario string, client bool) []string {
	media := 7000 + int(s.Port%100)*20 // two on one host need ports of their own
	args := []string{
		"-sf", scenario, "-i", from.String(), "-p", strconv.Itoa(int(s.Port)), "-mi", from.String(), "-mp", strconv.Itoa(media),
		"-nostdin", "-trace_stat", "-stf", "stat.csv", "-fd", "1", "-trace_err", "-error_file", "errors.log",
		"-t", map[bool]string{false: "u1", true: "t1"}[s.TCP], "-d", strconv.Itoa(int(s.Talk.Milliseconds())),
		"-recv_timeout", strconv.Itoa(int((s.Talk + 2*patience).Milliseconds())),
	}
	if s.Tone == 0 {
		args = append(args, "-rtp_echo")
	}
	calls := s.Calls
	if client && calls == 0 {
		calls = 1
	}
	if calls > 0 {
		args = append(args, "-m", strconv.Itoa(calls))
	}
	if s.Rate == 0 { // few calls: their messages are worth keeping
		args = append(args, "-trace_msg", "-message_file", "messages.log")
	}
	if !client {
		return args
	}
	if s.Rate > 0 {
		args = append(args, "-r", strconv.FormatFloat(s.Rate, 'f', -1, 64), "-l", strconv.Itoa(int(s.Rate*(s.Talk.Seconds()+10))+10))
	} else {
		args = append(args, "-l", "1")
	}
	return append(args, "-s", s.To, s.Server.String())
}

// render writes the scenario with its blanks filled in and returns the file's name within the run's own directory.
func (s SIPp) render(h *Host, dir string, from netip.Addr) string {
	h.lab.t.Helper()
	l := h.lab
	data := map[string]any{
		"Domain": s.Domain, "User": s.User, "Password": s.Password, "Contact": s.Contact, "Status": s.Status, "Proxy": s.Proxy,
		"Ring": s.Ring.Milliseconds(), "Sing": "",
	}
	if s.Domain == "" {
		data["Domain"] = uriHost(from)
		if s.Server.IsValid() {
			data["Domain"] = uriHost(s.Server.Addr())
		}
	}
	if s.User == "" {
		data["User"] = "sipp"
	}
	if s.Contact == "" {
		data["Contact"] = netip.AddrPortFrom(from, s.Port)
	}
	if s.Status == "" {
		data["Status"] = "486 Busy Here"
	}
	if s.Tone > 0 { // rtp_stream wants bare codes
		pcm := make([]int16, toneSeconds*tone.Rate)
		tone.NewSine(s.Tone, toneLevel).Read(pcm)
		data["Sing"] = l.file(dir+"/tone.ulaw", string(tone.MuLaw.Encode(nil, pcm)))
	}
	file := s.Scenario + ".xml"
	t, err := template.ParseFS(sippFiles, "sipp/"+file, "sipp/parts.tmpl")
	if err != nil {
		l.t.Fatalf("lab: SIPp scenario: %v", err)
	}
	var xml bytes.Buffer
	if err := t.ExecuteTemplate(&xml, file, data); err != nil {
		l.t.Fatalf("lab: SIPp scenario: %v", err)
	}
	l.file(dir+"/"+file, xml.String())
	return file
}

// Done waits for its end and returns what it counted.
func (r *SIPpRun) Done(within time.Duration) SIPpStats {
	r.t.Helper()
	r.Wait(within)
	return r.Stats()
}

// MustSucceed waits for its end and fails the test if any call failed or none was made.
func (r *SIPpRun) MustSucceed(within time.Duration) SIPpStats {
	r.t.Helper()
	s := r.Done(within)
	if s.Failed > 0 || s.Successful == 0 {
		r.t.Fatalf("lab: %s: %+v\n%s", r.Process, s, r.Errors())
	}
	return s
}

// Errors is what SIPp found wrong: unexpected messages, timeouts.
func (r *SIPpRun) Errors() string {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(r.stats), "errors.log"))
	if err != nil {
		return ""
	}
	return string(b[:min(len(b), 4000)])
}

// Trace is every SIP message of it; empty under load (Rate set).
func (r *SIPpRun) Trace() string {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(r.stats), "messages.log"))
	if err != nil {
		return ""
	}
	return string(b)
}

// Stats is what it has counted so far; it counts anew each second and at its end.
func (r *SIPpRun) Stats() SIPpStats {
	r.t.Helper()
	b, err := os.ReadFile(r.stats)
	if err != nil {
		return SIPpStats{}
	}
	s, err := parseSIPpStats(string(b))
	if err != nil {
		r.t.Fatalf("lab: %s: %v", r.Process, err)
	}
	return s
}

// parseSIPpStats reads the last whole line of SIPp's statistics file; the columns ending in (C) count from the beginning.
func parseSIPpStats(text string) (SIPpStats, error) {
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[:i] // the last line may be half written
	}
	r := csv.NewReader(strings.NewReader(text))
	r.Comma, r.FieldsPerRecord, r.LazyQuotes = ';', -1, true
	rows, err := r.ReadAll()
	if err != nil {
		return SIPpStats{}, fmt.Errorf("reading SIPp's statistics: %w", err)
	}
	if len(rows) < 2 {
		return SIPpStats{}, nil
	}
	col := map[string]string{}
	for i, name := range rows[0] {
		if last := rows[len(rows)-1]; i < len(last) {
			col[name] = last[i]
		}
	}
	num := func(name string) int { n, _ := strconv.Atoi(col[name]); return n }
	rate, _ := strconv.ParseFloat(col["CallRate(C)"], 64)
	return SIPpStats{
		Created: num("TotalCallCreated"), Successful: num("SuccessfulCall(C)"), Failed: num("FailedCall(C)"),
		Retransmissions: num("Retransmissions(C)"), Rate: rate,
		Elapsed: sippTime(col["ElapsedTime(C)"]), Response: sippTime(col["ResponseTime1(C)"]),
	}, nil
}

// sippTime reads "00:00:01:234567" or "00:00:01" (hours to microseconds); 0 if it is something else.
func sippTime(s string) time.Duration {
	var h, m, sec, us int
	if n, _ := fmt.Sscanf(s, "%d:%d:%d:%d", &h, &m, &sec, &us); n < 3 {
		return 0
	}
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(sec)*time.Second + time.Duration(us)*time.Microsecond
}
