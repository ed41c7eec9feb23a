package product

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/tone"
)

// TestVoicemailByMail has a message go to its owner by a foreign mail server, over TLS and with a password from the secret store; also when the
// exchange dies before it could be sent.
func TestVoicemailByMail(t *testing.T) {
	c := assemble(t, Options{Mail: true})
	owner := c.inB
	c.Command("pbx", "", "extension", "voicemail", owner.number, "on")
	c.Command("pbx", "", "extension", "dnd", owner.number, "on")
	c.Command("pbx", "", "extension", "email", owner.number, "owner@example.com")
	leave := func() {
		t.Helper()
		c.outL.Call(owner.number)
		c.outL.WaitEstablished()
		time.Sleep(time.Second)
		c.outL.Press("1") // enough of the greeting
		time.Sleep(5 * time.Second)
		c.outL.Hangup()
	}
	leave() // nobody knows the server's password yet
	c.holds(t, owner.number, 1)
	if n := len(c.Mail.Mails()); n > 0 {
		t.Fatalf("%d mails without a password", n)
	}
	c.Command("pbx", c.Mail.Password+"\n", "mailbox", "smtp-password")
	c.Exchange.Kill()
	c.Exchange.Start()
	until(t, waits, "the mail", func() string {
		if len(c.Mail.Mails()) == 0 {
			return "none came"
		}
		return ""
	})
	got := c.Mail.Mails()[0]
	if !got.TLS || len(got.To) != 1 || got.To[0] != "owner@example.com" || got.From != "voicemail@lab.test" {
		t.Errorf("the mail goes from %s to %s, over TLS: %v", got.From, got.To, got.TLS)
	}
	subject, sound := opened(t, got.Text)
	if !strings.HasPrefix(subject, "Voicemail from Alice (1001)") {
		t.Errorf("subject %q", subject)
	}
	pcm := tone.MuLaw.Decode(nil, sound)
	if r := tone.Measure(pcm[len(pcm)/2:][:tone.Rate]); r.Frequency < c.outL.sings-2 || r.Frequency > c.outL.sings+2 {
		t.Errorf("the mail sings %.0f Hz at %.0f dBm0, not %.0f", r.Frequency, r.Level, c.outL.sings)
	}
}

// opened returns a mail's subject, and the µ-law sound of the WAV file that is attached to it.
func opened(t *testing.T, text string) (subject string, sound []byte) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart()
		if err != nil {
			t.Fatalf("there is no sound: %v", err)
		}
		if !strings.HasPrefix(p.Header.Get("Content-Type"), "audio/wav") {
			continue
		}
		b, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
		if err != nil {
			t.Fatal(err)
		}
		_, sound, ok := bytes.Cut(b, []byte("data"))
		if !ok {
			t.Fatal("the sound is no WAV file")
		}
		return subject, sound[4:]
	}
}
