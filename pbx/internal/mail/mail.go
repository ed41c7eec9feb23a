// Package mail hands mails to the server of the configuration (SMTP).
package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	smtp "github.com/wneessen/go-mail"

	"brickhouse/shared/conffile"
)

// Config says how mails leave.
type Config struct {
	Server   string `yaml:"server" doc:"Host and port of the mail server, as smtp.example.com:587. Empty: no mail is sent."`
	TLS      string `yaml:"tls" oneof:"starttls|tls|none" doc:"starttls: encryption is asked for and insisted on; tls: from the first byte (port 465); none: only to a server on this machine."`
	CA       string `yaml:"ca" doc:"Certificate authority of the server, PEM. Empty: the system's."`
	From     string `yaml:"from" doc:"Sender of all mails, as Voicemail <voicemail@example.com>."`
	Username string `yaml:"username" doc:"Account at the server; the password is in the secret store under mail/password (pbx mailbox smtp-password). Empty: the server wants none."`
}

// DefaultConfig holds where the file says nothing.
func DefaultConfig() Config { return Config{TLS: "starttls"} }

// Check says what is wrong with it. key is what it is called in the file.
func (c Config) Check(key string) []conffile.Fault {
	if c.Server == "" {
		return nil
	}
	var fs []conffile.Fault
	host, port, err := net.SplitHostPort(c.Server)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || host == "" || n == 0 {
		fs = append(fs, conffile.Bad(key+".server", "is no host with a port", "write it as smtp.example.com:587"))
	}
	if !IsAddress(c.From) {
		fs = append(fs, conffile.Bad(key+".from", "is no mail address", "write it as voicemail@example.com"))
	}
	if a, err := netip.ParseAddr(host); c.TLS == "none" && host != "localhost" && (err != nil || !a.IsLoopback()) {
		fs = append(fs, conffile.Bad(key+".tls", "none sends messages and the password in clear", "use starttls, or a server on this machine"))
	}
	return fs
}

// IsAddress reports whether a text is one mail address.
func IsAddress(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && len(s) <= maxAddress && strings.Contains(a.Address, "@") && !strings.ContainsFunc(s, unicode.IsControl)
}

// maxAddress bounds an address (RFC 5321 §4.5.3.1.3), with a name.
const maxAddress = 320

// ErrRefused says that a mail will not be taken, however often it is sent.
var ErrRefused = errors.New("the mail is refused")

// Mail is one mail with one attachment.
type Mail struct {
	To, Subject, Text string
	Name              string // of the attachment
	Attached          []byte // nil: none
}

// Sender sends mails. It is safe for concurrent use.
type Sender struct {
	Config   Config
	Password func(ctx context.Context) (string, error) // asked for where there is a Username
}

// patience bounds each step of a conversation with the server.
const patience = 30 * time.Second

// Send hands a mail to the server. When it returns without an error, the server has it. Errors: ErrRefused, or what may pass.
func (s *Sender) Send(ctx context.Context, m Mail) error {
	msg := smtp.NewMsg(smtp.WithNoDefaultUserAgent())
	if err := errors.Join(msg.From(s.Config.From), msg.To(m.To)); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	msg.Subject(line(m.Subject))
	msg.SetDate()
	msg.SetMessageID()
	msg.SetBodyString(smtp.TypeTextPlain, m.Text)
	if m.Attached != nil {
		if err := msg.AttachReader(m.Name, bytes.NewReader(m.Attached), smtp.WithFileContentType("audio/wav")); err != nil {
			return err
		}
	}
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	err = client.DialAndSendWithContext(ctx, msg)
	var refused *smtp.SendError
	if errors.As(err, &refused) && !refused.IsTemp() && refused.ErrorCode() >= 500 {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func (s *Sender) client(ctx context.Context) (*smtp.Client, error) {
	host, text, err := net.SplitHostPort(s.Config.Server)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if s.Config.CA != "" {
		pem, err := os.ReadFile(s.Config.CA)
		if err != nil {
			return nil, fmt.Errorf("mail.ca: %w", err)
		}
		if conf.RootCAs = x509.NewCertPool(); !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("mail.ca: %s has no certificate", s.Config.CA)
		}
	}
	opts := []smtp.Option{smtp.WithPort(port), smtp.WithTimeout(patience), smtp.WithTLSConfig(conf)}
	switch s.Config.TLS {
	case "tls":
		opts = append(opts, smtp.WithSSL())
	case "none":
		opts = append(opts, smtp.WithTLSPolicy(smtp.NoTLS))
	default:
		opts = append(opts, smtp.WithTLSPolicy(smtp.TLSMandatory))
	}
	if s.Config.Username != "" {
		password, err := s.Password(ctx)
		if err != nil {
			return nil, fmt.Errorf("the password of the mail server: %w", err)
		}
		opts = append(opts, smtp.WithUsername(s.Config.Username), smtp.WithPassword(password), smtp.WithSMTPAuth(smtp.SMTPAuthAutoDiscover))
	}
	return smtp.NewClient(host, opts...)
}

// line is a text without what would end a header's line.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}
