package admin

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/pbx/internal/pin"
	"brickhouse/pbx/internal/prompt"
	"brickhouse/pbx/internal/voicemail"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// Mailboxes are what callers leave for extensions.
type Mailboxes interface {
	SetVoicemail(ctx context.Context, extension string, on bool) error
	Messages(ctx context.Context, mailbox string) ([]voicemail.Message, error)
	MessageSound(ctx context.Context, mailbox, id string) ([]byte, error)
	DeleteMessage(mailbox, id string) error
	SetPIN(ctx context.Context, mailbox, pin string) error
	SetEmail(ctx context.Context, extension, address string) error
	SetMailPassword(ctx context.Context, password string) error
}

// message is a message as commands show it.
type message struct {
	ID     string    `json:"id"`
	Folder string    `json:"folder"` // "new" or "old"
	Caller string    `json:"caller,omitempty"`
	Name   string    `json:"name,omitempty"`
	At     time.Time `json:"at"`
	Length float64   `json:"length"` // seconds
	Trace  string    `json:"trace,omitempty"`
}

// soundResponse is the answer to GET …/sound.
type soundResponse struct {
	WAV []byte `json:"wav"`
}

// emailRequest is the body of PUT …/email.
type emailRequest struct {
	Address string `json:"address"` // empty: none
}

// pinRequest is the body of PUT …/pin.
type pinRequest struct {
	PIN string `json:"pin"`
}

func mailboxRoutes(s *control.Server, x Exchange) {
	handle := func(pattern string, do func(r *http.Request, mailbox string) (any, error)) {
		s.Handle(pattern, func(r *http.Request) (any, error) {
			out, err := do(r, r.PathValue("number"))
			return out, mailboxFault(err)
		})
	}
	handle("GET /mailboxes/{number}/messages", func(r *http.Request, mailbox string) (any, error) {
		list, err := x.Messages(r.Context(), mailbox)
		out := []message{}
		for _, m := range list {
			out = append(out, message{m.ID, string(m.Folder), m.Caller, m.Name, m.At, m.Length.Seconds(), m.Trace})
		}
		return out, err
	})
	handle("GET /mailboxes/{number}/messages/{id}/sound", func(r *http.Request, mailbox string) (any, error) {
		sound, err := x.MessageSound(r.Context(), mailbox, r.PathValue("id"))
		return soundResponse{prompt.WAV(sound)}, err
	})
	handle("DELETE /mailboxes/{number}/messages/{id}", func(r *http.Request, mailbox string) (any, error) {
		return nil, x.DeleteMessage(mailbox, r.PathValue("id"))
	})
	s.Handle("PUT /mail/password", func(r *http.Request) (any, error) {
		var req passwordRequest
		if err := control.Decode(r, &req); err != nil {
			return nil, err
		}
		if req.Password == "" || len(req.Password) > maxPassword {
			return nil, control.Errorf(http.StatusBadRequest, "the password must have 1 to %d characters", maxPassword)
		}
		return nil, x.SetMailPassword(r.Context(), req.Password)
	})
	s.Handle("PUT /extensions/{number}/email", func(r *http.Request) (any, error) {
		number := r.PathValue("number")
		if _, ok := x.Store().Extension(number); !ok {
			return nil, unknown(number)
		}
		var req emailRequest
		if err := control.Decode(r, &req); err != nil {
			return nil, err
		}
		return nil, unfit(x.SetEmail(r.Context(), number, req.Address))
	})
	handle("PUT /mailboxes/{number}/pin", func(r *http.Request, mailbox string) (any, error) {
		var req pinRequest
		if err := control.Decode(r, &req); err != nil {
			return nil, err
		}
		return nil, x.SetPIN(r.Context(), mailbox, req.PIN)
	})
}

// mailboxFault makes the caller's fault what is his.
func mailboxFault(err error) error {
	switch {
	case errors.Is(err, voicemail.ErrNoMailbox):
		return control.Errorf(http.StatusNotFound, "%v; pbx extension voicemail NUMBER on gives it one", err)
	case errors.Is(err, voicemail.ErrNoMessage):
		return control.Errorf(http.StatusNotFound, "%v; pbx mailbox list shows those there are", err)
	case errors.Is(err, pin.ErrWeak):
		return control.Errorf(http.StatusBadRequest, "%v", err)
	}
	return err
}

func mailboxCommands(a *command.Admin) []*cobra.Command {
	return []*cobra.Command{mailboxList(a), mailboxSave(a), mailboxDelete(a), mailboxPIN(a), mailPassword(a)}
}

func mailboxPath(mailbox string, more ...string) string { return below("/mailboxes/", mailbox, more) }

// below is the path of a thing, and of what belongs to it.
func below(kind, name string, more []string) string {
	path := kind + url.PathEscape(name)
	for _, m := range more {
		path += "/" + url.PathEscape(m)
	}
	return path
}

func mailboxList(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "list NUMBER", Short: "List the messages of an extension's mailbox", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var list []message
			if err := a.Do(c.Context(), "GET", mailboxPath(args[0], "messages"), nil, &list); err != nil {
				return err
			}
			return a.Print(c, list, func() *control.Table {
				t := &control.Table{Columns: []string{"ID", "FOLDER", "FROM", "NAME", "AT", "LENGTH", "TRACE"}, Empty: "no messages"}
				for _, m := range list {
					length := time.Duration(m.Length * float64(time.Second)).Round(time.Second)
					t.Add(m.ID, m.Folder, m.Caller, m.Name, m.At.Local().Format(time.DateTime), length, m.Trace)
				}
				return t
			})
		},
	}
}

func mailboxSave(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "save NUMBER ID FILE.wav", Short: "Write a message to a file, not sealed any more", Args: cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			var sound soundResponse
			if err := a.Do(c.Context(), "GET", mailboxPath(args[0], "messages", args[1], "sound"), nil, &sound); err != nil {
				return err
			}
			f, err := os.OpenFile(args[2], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return command.Bad(err)
			}
			_, err = f.Write(sound.WAV)
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"id": args[1], "file": args[2]}, "message %s is in %s", args[1], args[2])
		},
	}
}

func mailboxDelete(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "delete NUMBER ID", Short: "Remove a message", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "DELETE", mailboxPath(args[0], "messages", args[1]), nil, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"removed": args[1]}, "message %s is removed", args[1])
		},
	}
}

func mailPassword(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "smtp-password", Short: "Store the password of the mail server, read from standard input", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			pw, err := password(c, true)
			if err != nil {
				return err
			}
			if err := a.Do(c.Context(), "PUT", "/mail/password", passwordRequest{pw}, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]bool{"stored": true}, "the password of the mail server is stored")
		},
	}
}

func extensionEmail(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "email NUMBER ADDRESS|off", Short: "Mail the messages of an extension's mailbox to an address, too", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			address := args[1]
			if address == "off" {
				address = ""
			}
			if err := a.Do(c.Context(), "PUT", "/extensions/"+url.PathEscape(args[0])+"/email", emailRequest{address}, nil); err != nil {
				return err
			}
			if address == "" {
				return a.Say(c, map[string]string{"number": args[0], "email": ""}, "messages of extension %s are not mailed", args[0])
			}
			return a.Say(c, map[string]string{"number": args[0], "email": address}, "messages of extension %s are mailed to %s", args[0], address)
		},
	}
}

func mailboxPIN(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "pin NUMBER", Short: "Give a mailbox a PIN, read from standard input", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			line, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
			if line = strings.TrimRight(line, "\r\n"); line == "" {
				return command.Badf("standard input holds no PIN: %v", err)
			}
			if err := a.Do(c.Context(), "PUT", mailboxPath(args[0], "pin"), pinRequest{line}, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"number": args[0]}, "mailbox %s has its PIN", args[0])
		},
	}
}
