package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"brickhouse/pbx/internal/conference"
	"brickhouse/pbx/internal/database"
	"brickhouse/pbx/internal/store"
	"brickhouse/pbx/internal/voicemail"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/pki"
)

// remote is a program that asks the API over TLS, and holds every answer against the document.
type remote struct {
	*rig
	url    string
	client *http.Client
	valid  validator.Validator
}

// overTLS opens the API of a rig.
func (r *rig) overTLS() *remote {
	r.Helper()
	now := time.Now()
	ca, err := pki.NewAuthority("test", time.Hour, now)
	if err != nil {
		r.Fatal(err)
	}
	pair, err := ca.Issue(pki.Request{Name: "api", IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Use: pki.Server, Life: time.Hour}, now)
	if err != nil {
		r.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		r.Fatal(err)
	}
	at, err := r.server.ListenTLS(netip.MustParseAddrPort("127.0.0.1:0"), &tls.Config{Certificates: []tls.Certificate{cert}}, r.x.ring.Check)
	if err != nil {
		r.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	r.Cleanup(transport.CloseIdleConnections)
	return &remote{rig: r, url: "https://" + at.String(), client: &http.Client{Transport: transport, Timeout: time.Minute}}
}

// key makes a key with scopes.
func (m *remote) key(name string, scopes ...string) string {
	m.Helper()
	token, _, err := m.x.AddKey(m.Context(), name, scopes, 0)
	if err != nil {
		m.Fatal(err)
	}
	return token
}

// try sends a request and returns the answer with its body. valid, if it is there, must find nothing wrong with the answer.
func (m *remote) try(method, path, token, body string) (*http.Response, string) {
	m.Helper()
	req, err := http.NewRequestWithContext(m.Context(), method, m.url+path, strings.NewReader(body))
	if err != nil {
		m.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := m.client.Do(req)
	if err != nil {
		m.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		m.Fatal(err)
	}
	if m.valid != nil {
		res.Body = io.NopCloser(bytes.NewReader(text))
		if ok, faults := m.valid.ValidateHttpResponse(req, res); !ok {
			for _, f := range faults {
				m.Errorf("%s %s: %d %s\n%s %s %v", method, path, res.StatusCode, text, f.Message, f.Reason, f.SchemaValidationErrors)
			}
		}
	}
	return res, string(text)
}

// learn reads the document, which must be a good one.
func (m *remote) learn(token string) (operations map[string]bool) {
	m.Helper()
	res, text := m.try("GET", "/v1/openapi.json", token, "")
	if res.StatusCode != http.StatusOK {
		m.Fatalf("%d %s", res.StatusCode, text)
	}
	doc, err := libopenapi.NewDocument([]byte(text))
	if err != nil {
		m.Fatal(err)
	}
	v, faults := validator.NewValidator(doc)
	if len(faults) > 0 {
		m.Fatal(faults)
	}
	if ok, faults := v.ValidateDocument(); !ok {
		for _, f := range faults {
			m.Errorf("the document: %s: %s %v", f.Message, f.Reason, f.SchemaValidationErrors)
		}
	}
	m.valid = v
	var paths struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		}
	}
	if err := json.Unmarshal([]byte(text), &paths); err != nil {
		m.Fatal(err)
	}
	operations = map[string]bool{}
	for _, methods := range paths.Paths {
		for _, op := range methods {
			operations[op.OperationID] = true
		}
	}
	return operations
}

// TestDocument asks for everything that the document describes, and lets a foreign library hold each answer against it.
func TestDocument(t *testing.T) {
	r := mailboxRig(t)
	r.do("extension", "voicemail", "1001", "on")
	r.x.boxes.Leave(t.Context(), caller{}, voicemail.Header{Mailbox: "1001", Caller: "030123", Name: "Ann", At: time.Now(), Trace: "t1"})
	left, err := r.x.boxes.List(t.Context(), "1001")
	if err != nil || len(left) != 1 {
		t.Fatal(left, err)
	}
	id := left[0].ID
	r.x.calls = []b2bua.Info{{ID: "c1", State: b2bua.StateAnswered, Caller: "1001", Started: time.Now(), Answered: time.Now()}}
	r.x.rooms = []conference.Status{{Name: "board", Number: "1800", Parties: []conference.PartyStatus{{Call: "c1", Number: "1001", Since: time.Now()}}}}
	contact := "sip:1001@127.0.0.1"
	if _, err := r.x.store.PutBindings(t.Context(), &store.Binding{
		ID: store.BindingID("1001", contact, "", 0), AOR: "1001", ContactURI: contact, CallID: "r1", Network: "udp",
		Remote: netip.MustParseAddrPort("127.0.0.1:5060"), Expires: time.Now().Add(time.Hour),
	}); err != nil {
		t.Fatal(err)
	}
	m := r.overTLS()
	if err := os.WriteFile(filepath.Join(r.x.records, "cdr-2026-11-27.jsonl"), []byte(`{"id":"1","trace":"t","start":"2026-11-27T08:00:00.000Z","end":"2026-11-27T08:00:01.000Z","caller":"1001","direction":"internal","code":200}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := m.key("console", "write")
	unasked := m.learn(all)
	for _, c := range []struct {
		id, method, path, body string
		status                 int
	}{
		{"addExtension", "POST", "/extensions", `{"number":"1002","password":"a long enough one"}`, 204},
		{"addExtension", "POST", "/extensions", `{"number":"1002","password":"a long enough one"}`, 409},
		{"listExtensions", "GET", "/extensions", "", 200},
		{"getExtension", "GET", "/extensions/1001", "", 200},
		{"getExtension", "GET", "/extensions/9999", "", 404},
		{"setExtensionPassword", "PUT", "/extensions/1001/password", `{"password":"another long one"}`, 204},
		{"setExtensionPassword", "PUT", "/extensions/1001/password", `{"password":"short"}`, 400},
		{"setExtensionDigest", "PUT", "/extensions/1001/digest", `{"algorithms":["sha-256"]}`, 204},
		{"setExtensionName", "PUT", "/extensions/1001/name", `{"name":"Ann"}`, 204},
		{"setExtensionName", "PUT", "/extensions/1001/name", `{"name":"\u0000"}`, 400},
		{"exportExtensions", "GET", "/export", "", 200},
		{"importExtensions", "PUT", "/extensions", `{"extensions":[{"number":"1003","forwards":{"always":"112"}}]}`, 200},
		{"importExtensions", "PUT", "/extensions", `{"extensions":[{"number":"a b"}]}`, 400},
		{"setClass", "PUT", "/extensions/1001/class", `{"class":"world"}`, 204},
		{"setForward", "PUT", "/extensions/1001/forwards/busy", `{"to":"1002"}`, 204},
		{"setDND", "PUT", "/extensions/1001/dnd", `{"on":true}`, 204},
		{"setCallWaiting", "PUT", "/extensions/1001/waiting", `{"on":true}`, 204},
		{"setBlock", "PUT", "/extensions/1001/callers", `{"caller":"4930","on":true}`, 204},
		{"setVoicemail", "PUT", "/extensions/1001/voicemail", `{"on":true}`, 204},
		{"setEmail", "PUT", "/extensions/1001/email", `{"address":"a@example.com"}`, 204},
		{"setAgent", "PUT", "/extensions/1001/agent", `{"presence":"in"}`, 204},
		{"setWaiting", "PUT", "/extensions/1001/messages", `{"new":1,"old":2}`, 204},
		{"unblockExtension", "DELETE", "/extensions/1001/block", "", 409},
		{"setMailboxPIN", "PUT", "/mailboxes/1001/pin", `{"pin":"730164"}`, 204},
		{"listMessages", "GET", "/mailboxes/1001/messages", "", 200},
		{"getMessageSound", "GET", "/mailboxes/1001/messages/" + id + "/sound", "", 200},
		{"deleteMessage", "DELETE", "/mailboxes/1001/messages/" + id, "", 204},
		{"setMailPassword", "PUT", "/mail/password", `{"password":"x"}`, 204},
		{"setTrunkPassword", "PUT", "/trunks/carrier/password", `{"password":"x"}`, 204},
		{"listRegistrations", "GET", "/registrations", "", 200},
		{"listSubscriptions", "GET", "/subscriptions", "", 200},
		{"testDialplan", "GET", "/dialplan/test?from=1001&number=112", "", 200},
		{"testDialplan", "GET", "/dialplan/test?from=1001", "", 400},
		{"getNight", "GET", "/night", "", 200},
		{"setNight", "PUT", "/night", `{"night":"on"}`, 204},
		{"listQueues", "GET", "/queues", "", 200},
		{"listRooms", "GET", "/rooms", "", 200},
		{"lockRoom", "PUT", "/rooms/board/locked", `{"on":true}`, 204},
		{"muteParty", "PUT", "/rooms/board/parties/c1/muted", `{"on":true}`, 204},
		{"setRoomPIN", "PUT", "/rooms/board/pin", `{"pin":"730164"}`, 204},
		{"endConference", "DELETE", "/rooms/board/parties", "", 204},
		{"listCalls", "GET", "/calls", "", 200},
		{"getCall", "GET", "/calls/c1", "", 404},
		{"hangUp", "DELETE", "/calls/c1", "", 204},
		{"getDrain", "GET", "/drain", "", 200},
		{"drain", "PUT", "/drain", "", 200},
		{"undrain", "DELETE", "/drain", "", 200},
		{"listRecords", "GET", "/records?party=1001", "", 200},
		{"listRecords", "GET", "/records?after=../x", "", 400},
		{"latestRecords", "GET", "/records/latest?since=2026-11-27T08:00:00Z", "", 200},
		{"listAudit", "GET", "/audit?limit=3", "", 200},
		{"listAudit", "GET", "/audit?limit=many", "", 400},
		{"deleteExtension", "DELETE", "/extensions/1002", "", 204},
		{"listKeys", "GET", "/keys", "", 403},
		{"addKey", "POST", "/keys", `{"name":"x","scopes":["write"]}`, 403},
		{"deleteKey", "DELETE", "/keys/console", "", 403},
		{"backUp", "POST", "/backup", `{"file":"/tmp/x"}`, 403},
	} {
		if res, text := m.try(c.method, "/v1"+c.path, all, c.body); res.StatusCode != c.status {
			t.Errorf("%s: %d %s, want %d", c.id, res.StatusCode, text, c.status)
		}
		delete(unasked, c.id)
	}
	if len(unasked) > 0 {
		t.Errorf("not asked for: %v", unasked)
	}
}

// TestStrict holds that what is not as described is refused, with a reason, and changes nothing.
func TestStrict(t *testing.T) {
	r := newRig(t)
	r.do("extension", "add", "1001")
	m := r.overTLS()
	all := m.key("console", "write")
	m.learn(all)
	for body, want := range map[string]string{
		``:                         "no body",
		`{`:                        "not as expected",
		`{"on":true}{}`:            "after top-level value",
		`{"on":true,"on":false}`:   "duplicate",
		`{"on":true,"off":false}`:  "unexpected property",
		`{"On":true}`:              "/On: unknown object member name",
		`{}`:                       "required property on",
		`{"on":1}`:                 "boolean",
		`{"on":null}`:              "boolean",
		`[]`:                       "object",
		"{\"on\":true,\"\xff\":1}": "not as expected",
		strings.Repeat(`[`, 20000): "not as expected",
		`{"on":true` + strings.Repeat(" ", 1<<20) + `}`: "larger than",
	} {
		res, text := m.try("PUT", "/v1/extensions/1001/dnd", all, body)
		if res.StatusCode/100 != 4 || res.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(text, want) {
			t.Errorf("%.40q: %d %s, want %s", body, res.StatusCode, text, want)
		}
	}
	for path, want := range map[string]string{
		"/v1/dialplan/test?from=1001&number=1&number=2": "more than once",
		"/v1/dialplan/test?from=1001&number=1&x=2":      "no parameter",
		"/v1/dialplan/test?from=1001&number=%zz":        "can't be read",
		"/v1/calls?all=1":                               "no parameter",
	} {
		if res, text := m.try("GET", path, all, ""); res.StatusCode != 400 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s, want %s", path, res.StatusCode, text, want)
		}
	}
	if res, text := m.try("PUT", "/v1/drain", all, "{}"); res.StatusCode != 400 || !strings.Contains(text, "no body") {
		t.Errorf("a body where none belongs: %d %s", res.StatusCode, text)
	}
	if _, text := m.try("PUT", "/v1/extensions/1001/password", all, `{"password":["the secret word"]}`); strings.Contains(text, "secret word") {
		t.Errorf("a refusal repeats the password: %s", text)
	}
	if r.x.store.Services("1001").DND {
		t.Error("a refused request changed something")
	}
}

// TestKeysOfTheAPI holds what who shows which key may do.
func TestKeysOfTheAPI(t *testing.T) {
	r := newRig(t)
	r.do("extension", "add", "1001")
	m := r.overTLS()
	token := strings.TrimSpace(r.do("key", "add", "wallboard", "--scope", "queues:read,extensions:write", "--for", "1h"))
	if len(token) < 43 || !strings.HasPrefix(token, "bh_") {
		t.Fatalf("token %q", token)
	}
	for _, c := range []struct {
		method, path, token, body string
		status                    int
		challenge                 string
	}{
		{"GET", "/v1/queues", token, "", 200, ""},
		{"GET", "/v1/extensions", token, "", 200, ""}, // who may write may read
		{"PUT", "/v1/extensions/1001/dnd", token, `{"on":true}`, 204, ""},
		{"GET", "/v1/version", token, "", 404, ""},
		{"GET", "/v1/openapi.json", token, "", 200, ""},
		{"GET", "/v1/calls", token, "", 403, `scope="calls:read"`},
		{"PUT", "/v1/extensions/1001/agent", token, `{"presence":"in"}`, 403, `scope="queues:write"`},
		{"GET", "/v1/keys", token, "", 403, "insufficient_scope"},
		{"GET", "/v1/queues", "", "", 401, `Bearer realm="brickhouse"`},
		{"GET", "/v1/openapi.json", "", "", 401, "Bearer"},
		{"GET", "/v1/nowhere", "", "", 401, "Bearer"},
		{"GET", "/v1/queues", token + "A", "", 401, "invalid_token"},
		{"GET", "/v1/queues", token[:len(token)-4] + "AAAA", "", 401, "invalid_token"},
		{"GET", "/v1/queues", "bh__", "", 401, "invalid_token"},
		{"GET", "/v1/queues", strings.Repeat("x", 4000), "", 401, "invalid_token"},
	} {
		res, text := m.try(c.method, c.path, c.token, c.body)
		if res.StatusCode != c.status || !strings.Contains(res.Header.Get("WWW-Authenticate"), c.challenge) {
			t.Errorf("%s %s: %d %q %s, want %d %s", c.method, c.path, res.StatusCode, res.Header.Get("WWW-Authenticate"), text, c.status, c.challenge)
		}
	}
	var keys []key
	if err := json.Unmarshal([]byte(r.do("key", "list", "--json")), &keys); err != nil || len(keys) != 1 || keys[0].UsedFrom != "127.0.0.1" || time.Since(keys[0].Used) > time.Minute || keys[0].Token != "" {
		t.Errorf("%+v, %v", keys, err)
	}
	entries, err := r.x.db.Audit(t.Context(), audited("/v1/extensions/1001/dnd"))
	if err != nil || len(entries) != 1 || entries[0].Who != "key wallboard ("+keys[0].ID+")" || !strings.HasPrefix(entries[0].From, "127.0.0.1:") ||
		strings.Contains(string(entries[0].Before), `"dnd":true`) || !strings.Contains(string(entries[0].After), `"dnd":true`) {
		t.Errorf("the audit: %+v, %v", entries, err)
	}
	r.do("key", "del", "wallboard")
	if res, _ := m.try("GET", "/v1/queues", token, ""); res.StatusCode != 401 {
		t.Errorf("a key that is gone: %d", res.StatusCode)
	}
	for _, args := range [][]string{
		{"key", "add", "x"}, {"key", "add", "x", "--scope", "moon:read"}, {"key", "add", "x y", "--scope", "read"}, {"key", "add", "x", "--scope", "read", "--for", "1s"},
		{"key", "add", "x", "--scope", "read,read"}, {"key", "add", "x", "--scope", "keys:write"}, {"key", "del", "x"}, {"key", "add", "x", "--scope", "read", "--for", "1ms"},
	} {
		if status, _, errs := r.run(args...); status != 2 || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: %d %q", args, status, errs)
		}
	}
}

// TestRate holds that neither a key nor who has none can ask without end.
func TestRate(t *testing.T) {
	m := newRig(t).overTLS()
	busy, other := m.key("busy", "read"), m.key("other", "read")
	for name, token := range map[string]string{"a key": busy, "a stranger": "bh_x_y"} {
		var last *http.Response
		for range 500 {
			if last, _ = m.try("GET", "/v1/night", token, ""); last.StatusCode == http.StatusTooManyRequests {
				break
			}
		}
		if last.StatusCode != http.StatusTooManyRequests || last.Header.Get("Retry-After") == "" {
			t.Errorf("%s: still %d", name, last.StatusCode)
		}
		if res, _ := m.try("GET", "/v1/night", other, ""); res.StatusCode != 200 {
			t.Errorf("%s holds up others: %d", name, res.StatusCode)
		}
	}
}

// TestAudit holds that what people and programs change is noted, without secrets, and can be found.
func TestAudit(t *testing.T) {
	r := newRig(t)
	pw := strings.Fields(strings.Split(r.do("extension", "add", "1001"), "password ")[1])[0]
	r.do("extension", "dnd", "1001", "on")
	r.do("extension", "class", "1001", "world")
	if status, _, _ := r.run("extension", "class", "1001", "nothing"); status == 0 {
		t.Fatal("a class that there is not")
	}
	out := r.do("audit", "list")
	if strings.Contains(out, pw) {
		t.Errorf("the audit holds a password: %s", out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 4 || !strings.Contains(lines[1], "setClass") || !strings.Contains(lines[1], `"class":"world"`) || !strings.Contains(lines[3], "addExtension") || !strings.Contains(lines[3], "socket") {
		t.Errorf("%s", out)
	}
	if out := r.do("audit", "list", "--target", "/v1/extensions/1001/dnd", "--since", "1h", "--who", "nobody-of-that-name"); out != "nothing was changed\n" {
		t.Errorf("%s", out)
	}
	if out := r.do("audit", "list", "--limit", "1", "--json"); strings.Count(out, `"operation"`) != 1 {
		t.Errorf("%s", out)
	}
	copied := socket(t)
	r.do("audit", "backup", copied)
	if status, _, errs := r.run("audit", "backup", copied); status != 2 || !strings.Contains(errs, "exists") {
		t.Errorf("a backup over a file: %d %s", status, errs)
	}
	db, err := database.Open(t.Context(), copied)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if entries, err := db.Audit(context.Background(), audited("")); err != nil || len(entries) != 3 {
		t.Errorf("the backup: %d, %v", len(entries), err)
	}
}

// audited asks for the changes of what begins with a path.
func audited(path string) database.Query { return database.Query{Target: path, Limit: 10} }
