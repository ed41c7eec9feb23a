package lab

import (
	_ "embed"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
)

//go:embed mailserver.py
var mailServer string

// MailServer is a foreign mail server (aiosmtpd), which insists on STARTTLS and on an account.
type MailServer struct {
	Addr           string // host and port
	CA             string // PEM
	User, Password string

	dir string
	t   TB
}

// Mail is a mail that it got.
type Mail struct {
	To   []string
	From string
	TLS  bool
	Text string `json:"mail"` // as it came
}

// MailServer starts a mail server on a wire.
func (h *Host) MailServer(on *Wire) *MailServer {
	l := h.lab
	l.t.Helper()
	at := h.Port(on, 2525)
	ca := l.CA()
	cert := ca.Issue("mail.lab.test", at.Addr())
	m := &MailServer{Addr: at.String(), CA: ca.File, User: "office", Password: "lab", dir: filepath.Join(l.Dir, "mails"), t: l.t}
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		l.t.Fatalf("lab: %v", err)
	}
	h.Run(Program{
		Name: "mail", Path: "/usr/bin/python3", Ready: Listening("tcp", at),
		Args: []string{l.file("mailserver.py", mailServer), at.Addr().String(), strconv.Itoa(int(at.Port())), cert.Cert, cert.Key, m.dir, m.User, m.Password},
	})
	return m
}

// Mails are those that it got, in their order.
func (m *MailServer) Mails() []Mail {
	m.t.Helper()
	files, err := filepath.Glob(filepath.Join(m.dir, "*.json"))
	if err != nil {
		m.t.Fatalf("lab: %v", err)
	}
	var out []Mail
	for _, name := range files {
		b, err := os.ReadFile(name)
		var mail Mail
		if err == nil {
			err = json.Unmarshal(b, &mail)
		}
		if err != nil {
			m.t.Fatalf("lab: %s: %v", name, err)
		}
		out = append(out, mail)
	}
	return out
}
