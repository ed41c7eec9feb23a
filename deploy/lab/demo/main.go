// Demo shows on a terminal that a running border and exchange do their main job: a remote phone registers over TLS through
// the border, an inside phone registers over UDP at the exchange, the first calls the second, each hears the other's tone,
// the ladder of the call is drawn, and an attacker who guesses passwords is banned. Its phones are those of
// shared/siptest, which share no SIP code with the product.
//
// It ends with status 0 only if all of that was seen, with 1 if something was not, with 2 if it was called wrongly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitSeen   = 0
	exitUnseen = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with everything that it touches as an argument.
func run(ctx context.Context, args []string, env func(string) string, out, errs io.Writer) int {
	o, err := parseFlags(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return exitSeen
	}
	if err == nil {
		err = o.load()
	}
	if err != nil {
		fmt.Fprintln(errs, "demo:", err)
		return exitUsage
	}
	o.unicode = utf8Terminal(env)
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	d := &demo{options: o, out: out}
	if err := d.show(ctx); err != nil {
		fmt.Fprintf(out, "\n  NOT SEEN: %v\n", err)
		return exitUnseen
	}
	fmt.Fprint(out, "\n  All of it was seen.\n")
	return exitSeen
}

// options are what the demonstration is called with.
type options struct {
	border, exchange  string // host:port
	caFile, accounts  string
	control, attacker string
	wait, limit       time.Duration
	tries             int

	attackerAddr netip.Addr
	phones       []account
	trust        *trust
	unicode      bool
}

func parseFlags(args []string, errs io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.SetOutput(errs)
	f.StringVar(&o.border, "sbc", "", "`host:port` of the border for remote phones (TLS)")
	f.StringVar(&o.caFile, "ca", "", "`file` with the certificate authority that signed the border's certificate (PEM)")
	f.StringVar(&o.exchange, "pbx", "", "`host:port` of the exchange for inside phones (UDP)")
	f.StringVar(&o.accounts, "accounts", "", "`file` with two accounts, as quickstart writes it (JSON)")
	f.StringVar(&o.control, "control", "", "`path` of the border's control socket")
	f.StringVar(&o.attacker, "attacker", "127.0.0.66", "own `address` that the attacker uses")
	f.IntVar(&o.tries, "tries", 6, "wrong passwords that the attacker tries at most")
	f.DurationVar(&o.wait, "wait", 15*time.Second, "how long border and exchange may take to answer the first time")
	f.DurationVar(&o.limit, "limit", 2*time.Minute, "how long the whole may take")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: everything is given by flags, see -h", f.Arg(0))
	}
	for name, value := range map[string]string{"sbc": o.border, "ca": o.caFile, "pbx": o.exchange, "accounts": o.accounts, "control": o.control} {
		if value == "" {
			return o, fmt.Errorf("-%s is missing: see -h", name)
		}
	}
	return o, o.check()
}

func (o *options) check() error {
	for name, value := range map[string]string{"sbc": o.border, "pbx": o.exchange} {
		if i := strings.LastIndexByte(value, ':'); i < 1 || i == len(value)-1 {
			return fmt.Errorf("-%s %q is not host:port", name, value)
		}
	}
	var err error
	if o.attackerAddr, err = netip.ParseAddr(o.attacker); err != nil {
		return fmt.Errorf("-attacker %q is not an address", o.attacker)
	}
	if o.tries < 1 || o.tries > 100 {
		return fmt.Errorf("-tries %d is not between 1 and 100", o.tries)
	}
	return nil
}

// load reads the files that the flags name.
func (o *options) load() error {
	var err error
	if o.phones, err = readAccounts(o.accounts); err != nil {
		return err
	}
	o.trust, err = readTrust(o.caFile)
	return err
}

// utf8Terminal reports whether box-drawing characters can be shown.
func utf8Terminal(env func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} { // the first that is set decides
		if v := strings.ToLower(env(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}
