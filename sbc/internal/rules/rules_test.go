package rules

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/rogpeppe/go-internal/txtar"

	"brickhouse/shared/conffile"
	"brickhouse/shared/sipmsg"
)

// TestMessages runs testdata: each archive has rules.yaml, and for each message NAME.in or NAME.out a NAME.want: start line,
// From, To and what was made, or the error. Messages have start line, From, To and further headers; the rest is added here.
func TestMessages(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d archives, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			archive := txtar.Parse(data)
			for i, f := range archive.Files {
				name, way, _ := strings.Cut(f.Name, ".")
				if way != "in" && way != "out" {
					continue
				}
				set := compiled(t, archive.Files[0], way == "in")
				got := run(t, set, string(f.Data))
				if want := archive.Files[i+1]; want.Name != name+".want" {
					t.Errorf("%s has no want behind it", f.Name)
				} else if got != string(want.Data) {
					t.Errorf("%s:\n%swant\n%s", f.Name, got, want.Data)
				}
				archive.Files[i+1].Data = []byte(got)
			}
			if os.Getenv("RULES_WRITE") != "" { // to be read before it is believed
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func compiled(t *testing.T, f txtar.File, inward bool) *Set {
	t.Helper()
	c := configured(t, string(f.Data))
	set, err := New(c, inward)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func configured(t *testing.T, text string) Config {
	t.Helper()
	c, err := parsed(text)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return c
}

func parsed(text string) (Config, error) {
	c := Default()
	f, err := conffile.Parse("f", []byte(text), &c)
	if err != nil {
		return c, err
	}
	fs := c.Check("")
	for i := range fs {
		fs[i].Key = strings.TrimPrefix(fs[i].Key, ".")
		fs[i].File, fs[i].Line = "f", f.Line(fs[i].Key)
	}
	if len(fs) > 0 {
		return c, conffile.Faults(fs)
	}
	return c, nil
}

func request(t testing.TB, text string) *sip.Request {
	t.Helper()
	text = strings.TrimSpace(text) + "\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\nCall-ID: a\nCSeq: 1 INVITE\nContact: <sip:192.0.2.1>\n\n"
	msg, err := sipmsg.Parse([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return msg.(*sip.Request)
}

var hosts = Hosts{Called: "called.example", Caller: "caller.example"}

// run returns what becomes of a message.
func run(t *testing.T, s *Set, text string) string {
	t.Helper()
	req := request(t, text)
	before := sipmsg.Bytes(req)
	res, err := s.Apply(req, hosts, true)
	if !bytes.Equal(before, sipmsg.Bytes(req)) {
		t.Errorf("the message itself was changed:\n%s", sipmsg.Bytes(req))
	}
	if err != nil {
		if !errors.Is(err, ErrNumber) {
			t.Errorf("error %v", err)
		}
		return "! " + err.Error() + "\n"
	}
	out := sip.NewRequest(sip.INVITE, res.Request.Recipient)
	out.AppendHeader(res.Request.From())
	out.AppendHeader(res.Request.To())
	for _, h := range res.Headers {
		out.AppendHeader(h)
	}
	if v, ok := sipmsg.Header(res.Request, "Privacy"); ok {
		out.AppendHeader(sip.NewHeader("Privacy", v))
	}
	head, _, _ := strings.Cut(string(sipmsg.Bytes(out)), "Content-Length")
	for i, step := range res.Steps {
		if step.Rule == "" || step.Field == "" || step.Before == step.After {
			t.Errorf("step %d: %+v", i, step)
		}
	}
	return strings.ReplaceAll(head, "\r\n", "\n")
}

// The trace tells each change once, by the rule that made it.
func TestTrace(t *testing.T) {
	set, err := New(configured(t, `in: {numbers: {country: "49"}, changes: [{number: to, match: "^.*$", replace: "7"}, {header: X-A, set: b}]}`), true)
	if err != nil {
		t.Fatal(err)
	}
	req := request(t, "INVITE sip:030123456@called.example SIP/2.0\nFrom: <sip:1001@caller.example>;tag=1\nTo: <sip:030123456@called.example>")
	res, err := set.Apply(req, hosts, true)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range res.Steps {
		got = append(got, fmt.Sprintf("%s %s %s>%s", s.Rule, s.Field, s.Before, s.After))
	}
	want := []string{
		"numbers request sip:030123456@called.example>sip:+4930123456@called.example",
		"numbers To <sip:030123456@called.example>><sip:+4930123456@called.example>",
		"changes[0] To <sip:+4930123456@called.example>><sip:7@called.example>",
		"changes[1] X-A >b",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", got)
	}
	if silent, _ := set.Apply(req, hosts, false); silent.Steps != nil {
		t.Error("steps without a trace")
	}
}
