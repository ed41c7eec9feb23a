package mail

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	good := Config{Server: "smtp.example.com:587", TLS: "starttls", From: "Voicemail <v@example.com>"}
	for want, change := range map[string]func(*Config){
		"":             func(*Config) {},
		"mail.server":  func(c *Config) { c.Server = "smtp.example.com" },
		"mail.server ": func(c *Config) { c.Server = "smtp.example.com:0" },
		"mail.from":    func(c *Config) { c.From = "v" },
		"mail.tls":     func(c *Config) { c.TLS = "none" },
		" ":            func(c *Config) { c.Server, c.TLS = "127.0.0.1:25", "none" },
		"  ":           func(c *Config) { *c = Config{} },
	} {
		c := good
		change(&c)
		got := ""
		for _, f := range c.Check("mail") {
			got += f.Key
		}
		if got != strings.TrimSpace(want) {
			t.Errorf("%+v: %q, want %q", c, got, want)
		}
	}
}

func TestIsAddress(t *testing.T) {
	for text, want := range map[string]bool{
		"a@b.example": true, "A <a@b.example>": true, "": false, "a": false, "a@b, c@d": false, "a@b\r\nBcc: c@d": false, strings.Repeat("a", 400) + "@b": false,
	} {
		if IsAddress(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

// server is a mail server that says one thing to each recipient, and keeps what it gets.
func server(t *testing.T, toRecipient string) (addr string, got *strings.Builder) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got = &strings.Builder{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c, toRecipient, got)
		}
	}()
	return l.Addr().String(), got
}

func serve(c net.Conn, toRecipient string, got *strings.Builder) {
	defer c.Close()
	in := bufio.NewScanner(c)
	data := false
	fmt.Fprint(c, "220 test\r\n")
	for in.Scan() {
		answer := "250 fine"
		switch line := in.Text(); {
		case data && line != ".":
			got.WriteString(line + "\n")
			continue
		case data:
			data = false
		case strings.HasPrefix(line, "RCPT"):
			answer = toRecipient
		case line == "DATA":
			data, answer = true, "354 go on"
		case line == "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		}
		fmt.Fprint(c, answer+"\r\n")
	}
}

func TestSend(t *testing.T) {
	m := Mail{To: "owner@example.com", Subject: "Voicemail from \r\nBcc: x@example.com Zoë", Text: "hello", Name: "a.wav", Attached: []byte("RIFF")}
	for answer, want := range map[string]string{"250 fine": "", "550 no such user": "refused", "450 later": "later"} {
		addr, got := server(t, answer)
		s := &Sender{Config: Config{Server: addr, TLS: "none", From: "Voicemail <v@example.com>"}}
		err := s.Send(t.Context(), m)
		switch {
		case want == "" && err != nil, want != "" && err == nil, errors.Is(err, ErrRefused) != (want == "refused"):
			t.Errorf("%s: %v", answer, err)
		}
		if text := got.String(); want == "" && (strings.Contains(text, "\nBcc:") || !strings.Contains(text, "audio/wav") || !strings.Contains(text, "UklGRg==")) {
			t.Errorf("the mail is\n%s", text)
		}
	}
	for name, c := range map[string]Config{
		"nobody listens":       {Server: "127.0.0.1:9", TLS: "none", From: "v@example.com"},
		"no encryption":        {TLS: "starttls", From: "v@example.com"},
		"another authority":    {TLS: "starttls", From: "v@example.com", CA: "mail_test.go"},
		"no file of authority": {TLS: "starttls", From: "v@example.com", CA: "/not/there"},
	} {
		if c.Server == "" {
			c.Server, _ = server(t, "250 fine")
		}
		if err := (&Sender{Config: c}).Send(t.Context(), m); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (&Sender{Config: Config{Server: "127.0.0.1:9", From: "v@example.com"}}).Send(t.Context(), Mail{To: "nobody"}); !errors.Is(err, ErrRefused) {
		t.Errorf("to no address: %v", err)
	}
}
