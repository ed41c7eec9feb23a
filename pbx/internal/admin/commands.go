package admin

import (
	"bufio"
	"crypto/rand"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/shared/b2bua/calladmin"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// socketVar is the environment variable that names the socket.
const socketVar = "BRICKHOUSE_PBX_SOCKET"

// Commands are the commands to a running exchange. socket is where it listens unless a flag says otherwise.
func Commands(socket string) []*cobra.Command {
	exts, trunks, regs, plan, watch, boxes, queues, meets, keys, audit, records := &command.Admin{}, &command.Admin{}, &command.Admin{}, &command.Admin{}, &command.Admin{}, &command.Admin{}, &command.Admin{}, &command.Admin{}, &command.Admin{}, &command.Admin{}, &command.Admin{}
	subs := []*cobra.Command{extensionList(exts), extensionAdd(exts), extensionDel(exts), extensionName(exts), extensionExport(exts), extensionImport(exts), extensionPasswd(exts), extensionDigest(exts), extensionMessages(exts)}
	return []*cobra.Command{
		exts.Group("extension", "Extensions, their passwords and rights", socketVar, socket, append(append(subs, rightCommands(exts)...), serviceCommands(exts)...)...),
		boxes.Group("mailbox", "Messages and PINs of mailboxes", socketVar, socket, mailboxCommands(boxes)...),
		queues.Group("queue", "Queues, their callers and agents", socketVar, socket, queueList(queues)),
		meets.Group("room", "Conference rooms, their parties and PINs", socketVar, socket, roomCommands(meets)...),
		keys.Group("key", "Keys of the API, for programs", socketVar, socket, keyCommands(keys)...),
		audit.Group("audit", "What was changed, when and by whom", socketVar, socket, auditList(audit), auditBackup(audit)),
		records.Group("cdr", "Call detail records", socketVar, socket, recordCommands(records)...),
		plan.Group("dialplan", "What becomes of numbers", socketVar, socket, dialplanTest(plan), dialplanDescribe(), dialplanNight(plan)),
		trunks.Group("trunk", "Passwords of trunks", socketVar, socket, trunkPasswd(trunks)),
		regs.Group("registration", "Registered phones", socketVar, socket, registrationList(regs)),
		watch.Group("subscription", "Who watches whom", socketVar, socket, subscriptionList(watch)),
		calladmin.Command(socketVar, socket), calladmin.DrainCommand(socketVar, socket), command.Reload(socketVar, socket),
	}
}

// NewPassword makes a password for a phone: 24 characters of 5 bits, without those that look alike.
func NewPassword() string {
	const letters = "abcdefghijkmnpqrstuvwxyz23456789"
	b := make([]byte, 24)
	rand.Read(b) //nolint:errcheck // crypto/rand never fails
	for i := range b {
		b[i] = letters[b[i]&31]
	}
	return string(b)
}

func extensionList(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the extensions", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []extension
			if err := a.Do(c.Context(), "GET", "/extensions", nil, &list); err != nil {
				return err
			}
			return a.Print(c, list, func() *control.Table {
				t := &control.Table{Columns: []string{"NUMBER", "NAME", "DIGEST", "REGISTERED", "CREATED"}, Empty: "no extensions"}
				for _, e := range list {
					t.Add(e.Number, e.Name, strings.Join(e.Algorithms, " "), e.Registered, e.Created.Format(time.DateOnly))
				}
				return t
			})
		},
	}
}

// password is a password that a person gives on standard input, or a new one.
func password(c *cobra.Command, fromStdin bool) (string, error) {
	if !fromStdin {
		return NewPassword(), nil
	}
	line, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", command.Badf("standard input holds no password: %v", err)
	}
	return line, nil
}

// stdinFlag adds --password-stdin. A password on the command line would be in every process list.
func stdinFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("password-stdin", false, "read the password from standard input instead of making one")
}

// sayPassword shows the password of an account, if it was made here.
func sayPassword(a *command.Admin, c *cobra.Command, number, pw string, given bool) error {
	if given {
		return a.Say(c, map[string]string{"number": number}, "extension %s has its new password", number)
	}
	return a.Say(c, map[string]string{"number": number, "password": pw}, "extension %s, password %s (shown once: it is not kept)", number, pw)
}

func extensionAdd(a *command.Admin) *cobra.Command {
	var name string
	c := &cobra.Command{Use: "add NUMBER", Short: "Add an extension and print its password", Args: cobra.ExactArgs(1)}
	stdin := stdinFlag(c)
	c.Flags().StringVar(&name, "name", "", "`NAME` shown to who is called")
	c.RunE = func(c *cobra.Command, args []string) error {
		pw, err := password(c, *stdin)
		if err != nil {
			return err
		}
		if err := a.Do(c.Context(), "POST", "/extensions", extensionRequest{args[0], name, pw}, nil); err != nil {
			return err
		}
		return sayPassword(a, c, args[0], pw, *stdin)
	}
	return c
}

func extensionDel(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "del NUMBER", Short: "Remove an extension, its registrations and its password", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "DELETE", "/extensions/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"removed": args[0]}, "extension %s is removed", args[0])
		},
	}
}

func extensionName(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "name NUMBER NAME", Short: "Give an extension the name that is shown to who is called", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "PUT", "/extensions/"+url.PathEscape(args[0])+"/name", nameRequest{args[1]}, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"number": args[0], "name": args[1]}, "extension %s is called %s", args[0], args[1])
		},
	}
}

func extensionPasswd(a *command.Admin) *cobra.Command {
	c := &cobra.Command{Use: "passwd NUMBER", Short: "Give an extension a new password", Args: cobra.ExactArgs(1)}
	stdin := stdinFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		pw, err := password(c, *stdin)
		if err != nil {
			return err
		}
		if err := a.Do(c.Context(), "PUT", "/extensions/"+url.PathEscape(args[0])+"/password", passwordRequest{pw}, nil); err != nil {
			return err
		}
		return sayPassword(a, c, args[0], pw, *stdin)
	}
	return c
}

func extensionDigest(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "digest NUMBER ALGORITHM…", Short: "Choose how an extension is challenged: sha-256, md5, in this order", Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "PUT", "/extensions/"+url.PathEscape(args[0])+"/digest", digestRequest{args[1:]}, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]any{"number": args[0], "algorithms": args[1:]}, "extension %s is challenged with %s", args[0], strings.Join(args[1:], ", then "))
		},
	}
}

func trunkPasswd(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "passwd NAME", Short: "Store a trunk's password, read from standard input", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			pw, err := password(c, true)
			if err != nil {
				return err
			}
			if err := a.Do(c.Context(), "PUT", "/trunks/"+url.PathEscape(args[0])+"/password", passwordRequest{pw}, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"trunk": args[0]}, "trunk %s has its password", args[0])
		},
	}
}

func registrationList(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the registered phones", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []registration
			if err := a.Do(c.Context(), "GET", "/registrations", nil, &list); err != nil {
				return err
			}
			return a.Print(c, list, func() *control.Table {
				t := &control.Table{Columns: []string{"NUMBER", "CONTACT", "VIA", "EXPIRES IN", "AGENT"}, Empty: "no phone is registered"}
				for _, r := range list {
					t.Add(r.Number, r.Contact, r.Via, time.Until(r.Expires).Round(time.Second), r.Agent)
				}
				return t
			})
		},
	}
}
