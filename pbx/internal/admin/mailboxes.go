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
	Folder string    `json:"folder" doc:"\"new\" or \"old\"."`
	Caller string    `json:"caller,omitempty"`
	Name   string    `json:"name,omitempty"`
	At     time.Time `json:"at"`
	Length float64   `json:"length" doc:"Seconds."`
	Trace  string    `json:"trace,omitempty"`
}

// soundResponse is the answer to GET …/sound.
type soundResponse struct {
	WAV []byte `json:"wav" doc:"A WAV file, in base64."`
}

// emailRequest is the body of PUT …/email.
type emailRequest struct {
	Address string `json:"address" doc:"Empty: none."`
}

// pinRequest is the body of PUT …/pin.
type pinRequest struct {
	PIN string `json:"pin"`
}

func mailboxRoutes(s *control.Server, x Exchange) {
	control.Route(s, "GET /mailboxes/{number}/messages", control.Operation{
		ID: "listMessages", Summary: "List the messages of a mailbox", Area: areaMessages,
	}, func(r *http.Request, _ control.None) ([]message, error) {
		list, err := x.Messages(r.Context(), r.PathValue("number"))
		out := []message{}
		for _, m := range list {
			out = append(out, message{m.ID, string(m.Folder), m.Caller, m.Name, m.At, m.Length.Seconds(), m.Trace})
		}
		return out, mailboxFault(err)
	})
	control.Route(s, "GET /mailboxes/{number}/messages/{id}/sound", control.Operation{
		ID: "getMessageSound", Summary: "What the caller said", Area: areaMessages,
	}, func(r *http.Request, _ control.None) (soundResponse, error) {
		sound, err := x.MessageSound(r.Context(), r.PathValue("number"), r.PathValue("id"))
		return soundResponse{prompt.WAV(sound)}, mailboxFault(err)
	})
	control.Route(s, "DELETE /mailboxes/{number}/messages/{id}", control.Operation{
		ID: "deleteMessage", Summary: "Remove a message", Area: areaMessages,
	}, func(r *http.Request, _ control.None) (done, error) {
		return done{}, mailboxFault(x.DeleteMessage(r.PathValue("number"), r.PathValue("id")))
	})
	control.Route(s, "PUT /mailboxes/{number}/pin", control.Operation{ID: "setMailboxPIN", Summary: "Give a mailbox a PIN", Area: areaMailboxes},
		func(r *http.Request, req pinRequest) (done, error) {
			return done{}, mailboxFault(x.SetPIN(r.Context(), r.PathValue("number"), req.PIN))
		})
	control.Route(s, "PUT /mail/password", control.Operation{ID: "setMailPassword", Summary: "Store the password of the mail server", Area: areaMailboxes},
		func(r *http.Request, req passwordRequest) (done, error) {
			if err := checkForeign(req.Password); err != nil {
				return done{}, err
			}
			return done{}, x.SetMailPassword(r.Context(), req.Password)
		})
	control.Route(s, "PUT /extensions/{number}/email", control.Operation{
		ID: "setEmail", Summary: "Mail the messages of an extension's mailbox to an address, too", Area: areaMailboxes, Shows: shows(x),
	}, ofExtension(x, func(r *http.Request, number string, req emailRequest) (done, error) {
		return done{}, x.SetEmail(r.Context(), number, req.Address)
	}))
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
