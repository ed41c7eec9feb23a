package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// maxTop is how many sources a sketch can tell of.
const maxTop = 1000

// topAnswer is the answer to GET /bans/top.
type topAnswer struct {
	Passed  []guard.Talker `json:"passed"`
	Dropped []guard.Talker `json:"dropped"`
}

func top(r *http.Request, b Border) (any, error) {
	n, err := number(r, "n", 10, maxTop)
	if err != nil {
		return nil, err
	}
	var a topAnswer
	a.Passed, a.Dropped = b.Guard().Top(n)
	return a, nil
}

func test(r *http.Request, b Border) (any, error) {
	q := r.URL.Query()
	addr, err := netip.ParseAddr(q.Get("addr"))
	if err != nil {
		return nil, control.Errorf(http.StatusBadRequest, "%q is no address", q.Get("addr"))
	}
	port, err := number(r, "port", 0, 65535)
	if err != nil {
		return nil, err
	}
	return b.Guard().Test(addr, uint16(port), q.Get("tcp") == "true"), nil
}

// events sends events until the caller goes.
func events(r *http.Request, send func(any) error, from <-chan guard.Event) error {
	if err := control.Ready(r); err != nil {
		return err
	}
	for ev := range from {
		if err := send(ev); err != nil {
			return err
		}
	}
	return nil
}

// streamJSON calls each for every value of a stream.
func streamJSON[V any](c *cobra.Command, a *command.Admin, path string, each func(V) error) error {
	return a.Stream(c.Context(), path, func(line json.RawMessage) error {
		var v V
		if err := json.Unmarshal(line, &v); err != nil {
			return fmt.Errorf("understanding the answer: %w", err)
		}
		return each(v)
	})
}

func banTop(a *command.Admin) *cobra.Command {
	var n int
	c := &cobra.Command{
		Use: "top", Short: "Show the sources that send the most, as samples tell", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var got topAnswer
			if err := a.Do(c.Context(), "GET", "/bans/top?n="+strconv.Itoa(n), nil, &got); err != nil {
				return err
			}
			return a.Print(c, got, func() *control.Table {
				t := &control.Table{Columns: []string{"WHAT", "SOURCE", "PACKETS", "ERROR", "REASON", "LAST"}, Empty: "nothing was sampled"}
				for _, part := range []struct {
					what string
					of   []guard.Talker
				}{{"dropped", got.Dropped}, {"passed", got.Passed}} {
					for _, k := range part.of {
						t.Add(part.what, k.Source, k.Packets, k.Error, k.Reason, k.Last.Format(time.TimeOnly))
					}
				}
				return t
			})
		},
	}
	c.Flags().IntVarP(&n, "number", "n", 10, "how many of each: at most `N`")
	return c
}

func banTest(a *command.Admin) *cobra.Command {
	var port uint16
	var tcp bool
	c := &cobra.Command{
		Use: "test ADDRESS", Short: "Tell what would happen to a source now, and why", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q := url.Values{"addr": {args[0]}, "port": {strconv.Itoa(int(port))}, "tcp": {strconv.FormatBool(tcp)}}
			var t guard.Trial
			if err := a.Do(c.Context(), "GET", "/bans/test?"+q.Encode(), nil, &t); err != nil {
				return err
			}
			if a.JSON {
				return a.Print(c, t, nil)
			}
			_, err := fmt.Fprint(c.OutOrStdout(), trial(t))
			return err
		},
	}
	c.Flags().Uint16Var(&port, "port", 0, "local `PORT` that it sends to; 0: a SIP port")
	c.Flags().BoolVar(&tcp, "tcp", false, "it makes a TCP or TLS connection")
	return c
}

// trial writes what would happen, for a person.
func trial(t guard.Trial) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, in the %s; %s\n", t.Addr, t.Outcome, t.Where, t.Source)
	for _, s := range t.Steps {
		b.WriteString("  " + control.Clean(s) + "\n")
	}
	return b.String()
}

// reasonsOf reads a list of reasons off a flag.
func reasonsOf(flag string) []string {
	if flag == "" {
		return nil
	}
	return strings.Split(flag, ",")
}

func wanted(reasons []string, reason string) bool {
	return len(reasons) == 0 || slices.Contains(reasons, reason)
}
