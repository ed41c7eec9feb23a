package lab

import (
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"brickhouse/shared/tone"
)

// Browser is headless Chromium with a page that holds a JsSIP phone: MD5 digest, WebSocket, DTLS-SRTP, ICE. The page asks the test what to
// do and tells what happens.
type Browser struct {
	acc      Account
	t        TB
	proc     *Process
	Page     string // origin of the page
	commands chan map[string]any

	mu     sync.Mutex
	events []browserEvent
	taken  map[string]int // how many events of a kind were waited for
}

// browserEvent is what the page tells.
type browserEvent struct {
	Type string
	Text string
	Hz   float64
	DB   float64
}

//go:embed browser/page.html
var browserPage []byte

// BrowserPort is where a page is served, on its host's loopback address, which a browser trusts with a microphone.
const BrowserPort = 8088

// BrowserOrigin is the origin of every page.
const BrowserOrigin = "http://localhost:8088"

// Browser starts Chromium on the host; the account's server is a WebSocket's, and its certificate's key is taken on trust by name
// of its hash (cert is the PEM file). It connects at once.
func (h *Host) Browser(acc Account, cert string) *Browser {
	h.lab.t.Helper()
	t := h.lab.t
	b := &Browser{acc: acc, t: t, Page: BrowserOrigin, commands: make(chan map[string]any, 10), taken: map[string]int{}}
	root, err := Root()
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	script, err := output1(root, nil, filepath.Join(root, "deploy/lab/browser/build.sh"))
	if err != nil {
		t.Fatalf("lab: making JsSIP: %v", err)
	}
	b.serve(h, script)
	dir := filepath.Join(h.lab.Dir, "browser-"+acc.User)
	b.proc = h.Run(Program{
		Name: "chromium", Path: "chromium", Env: []string{"HOME=" + dir, "DBUS_SESSION_BUS_ADDRESS=disabled:"},
		Args: []string{
			"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + dir, "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
			"--autoplay-policy=no-user-gesture-required", "--ignore-certificate-errors-spki-list=" + keyHash(t, cert),
			"--enable-logging=stderr", "--log-level=1", b.Page + "/",
		},
	})
	b.do("start", "tone", acc.Tone, "server", fmt.Sprintf("wss://%s/sip", acc.Server), "uri", "sip:"+acc.User+"@"+acc.Domain, "password", acc.Password)
	b.wait("connected")
	return b
}

// keyHash is what Chromium knows a trusted certificate by.
func keyHash(t TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("lab: %s has no certificate", file)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatalf("lab: %s: %v", file, err)
	}
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// serve puts the page on the host's loopback address.
func (b *Browser) serve(h *Host, script string) {
	b.t.Helper()
	var l net.Listener
	if err := h.Do(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", BrowserPort))
		return err
	}); err != nil {
		b.t.Fatalf("lab: serving the page: %v", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write(browserPage)
	})
	mux.HandleFunc("GET /jssip.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, script) })
	mux.HandleFunc("GET /next", b.next)
	mux.HandleFunc("POST /event", b.event)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	go func() { _ = server.Serve(l) }()
	b.t.Cleanup(func() { _ = server.Close() })
}

// next gives the page its next command; after a while none.
func (b *Browser) next(w http.ResponseWriter, r *http.Request) {
	var c map[string]any
	select {
	case c = <-b.commands:
	case <-r.Context().Done():
		return
	case <-time.After(5 * time.Second):
		c = map[string]any{}
	}
	_ = json.NewEncoder(w).Encode(c)
}

func (b *Browser) event(_ http.ResponseWriter, r *http.Request) {
	var e browserEvent
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		b.t.Errorf("lab: the page told nonsense: %v", err)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

// do has the page do something; more are names and values.
func (b *Browser) do(what string, more ...any) {
	c := map[string]any{"do": what}
	for i := 0; i+1 < len(more); i += 2 {
		c[more[i].(string)] = more[i+1]
	}
	b.commands <- c
}

// wait waits for the next event of a kind.
func (b *Browser) wait(kind string) browserEvent {
	b.t.Helper()
	var found browserEvent
	eventually(b.t, patience, func() string { return "the browser to be " + kind + "; it told:\n" + b.Trace() + b.proc.Tail(20) }, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		seen := 0
		for _, e := range b.events {
			if e.Type != kind {
				continue
			}
			if seen++; seen > b.taken[kind] {
				b.taken[kind], found = seen, e
				return true
			}
		}
		return false
	})
	return found
}

// Register registers and waits for the 200.
func (b *Browser) Register() { b.t.Helper(); b.do("register"); b.wait("registered") }

// Call dials a number and returns at once. CallWithVideo offers to receive video, too.
func (b *Browser) Call(number string) { b.do("call", "to", "sip:"+number+"@"+b.acc.Domain) }

// CallWithVideo is Call with a video line in the offer.
func (b *Browser) CallWithVideo(number string) {
	b.do("call", "to", "sip:"+number+"@"+b.acc.Domain, "video", true)
}

// Answer waits for a call, takes it, and waits until it is established.
func (b *Browser) Answer() {
	b.t.Helper()
	b.wait("incoming")
	b.do("answer")
	b.WaitEstablished()
}

// WaitEstablished waits until the call is up.
func (b *Browser) WaitEstablished() { b.t.Helper(); b.wait("established") }

// Hold, Resume and RestartICE each send a re-INVITE.
func (b *Browser) Hold() { b.do("hold") }

// Resume takes a held call back.
func (b *Browser) Resume() { b.do("resume") }

// RestartICE offers new ICE credentials and waits for the answer.
func (b *Browser) RestartICE() { b.t.Helper(); b.do("restart"); b.wait("renegotiated") }

// Hangup ends the call.
func (b *Browser) Hangup() { b.t.Helper(); b.do("hangup"); b.wait("closed") }

// WaitClosed waits until the call is over and returns JsSIP's cause.
func (b *Browser) WaitClosed() string { b.t.Helper(); return b.wait("closed").Text }

// sounds are all sounds that the page told of so far.
func (b *Browser) sounds() []browserEvent {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []browserEvent
	for _, e := range b.events {
		if e.Type == "sound" {
			all = append(all, e)
		}
	}
	return all
}

// Hears waits until what comes after now is the tone, loud, three times in a row.
func (b *Browser) Hears(hz float64) tone.Result {
	b.t.Helper()
	from := len(b.sounds())
	var last browserEvent
	eventually(b.t, patience, func() string { return fmt.Sprintf("the browser to hear %.0f Hz: it heard %+v", hz, last) }, func() bool {
		in := 0
		for _, s := range b.sounds()[from:] {
			if last = s; s.Hz > hz-10 && s.Hz < hz+10 && s.DB > -50 {
				in++
			} else {
				in = 0
			}
		}
		return in >= 3
	})
	return tone.Result{Frequency: last.Hz, Level: last.DB}
}

// HearsNothing waits until what comes after now is silence, three times in a row.
func (b *Browser) HearsNothing() {
	b.t.Helper()
	from := len(b.sounds())
	eventually(b.t, patience, func() string { return "silence in the browser" }, func() bool {
		in := 0
		for _, s := range b.sounds()[from:] {
			if s.DB < -80 {
				in++
			} else {
				in = 0
			}
		}
		return in >= 3
	})
}

// Trace is all that the page told but sounds; descriptions are among it.
func (b *Browser) Trace() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s strings.Builder
	for _, e := range b.events {
		if e.Type != "sound" {
			fmt.Fprintf(&s, "%s: %s\n", e.Type, e.Text)
		}
	}
	return s.String()
}
