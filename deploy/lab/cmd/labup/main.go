// Command labup builds the lab's namespaces for a person, says how to get into them, and takes them down at Ctrl-C.
//
//	labup          build, explain, wait
//	labup -sweep   only take down what dead runs left behind
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"brickhouse/deploy/lab"
	"brickhouse/deploy/lab/netns"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) (code int) {
	fs := flag.NewFlagSet("labup", flag.ContinueOnError)
	fs.SetOutput(errs)
	sweep := fs.Bool("sweep", false, "only take down what dead runs left behind")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(errs, "labup: unexpected argument %q; see labup -h\n", fs.Arg(0))
		return 2
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(errs, "labup: making network namespaces needs root; try: sudo make lab")
		return 2
	}
	if *sweep {
		gone, err := netns.Sweep()
		for _, id := range gone {
			fmt.Fprintf(out, "removed %s%s\n", netns.Prefix, id)
		}
		if err != nil {
			fmt.Fprintf(errs, "labup: %v\n", err)
			return 1
		}
		return 0
	}
	p := &person{out: out, errs: errs}
	defer func() { code = p.end(recover(), code) }()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(stop)
	explain(out, lab.New(p))
	<-stop
	fmt.Fprintln(out, "\ntaking the lab down")
	return 0
}

// explain tells what is there and how to use it.
func explain(out io.Writer, l *lab.Lab) {
	fmt.Fprintf(out, "The lab is up. Nothing in it has a route to the world outside.\n\n%-10s %-8s %s\n", "host", "wire", "addresses")
	for _, h := range l.Hosts() {
		name := h.Name
		for _, w := range h.Wires() {
			var addrs []string
			for _, a := range h.AddrsOn(w) {
				addrs = append(addrs, a.String())
			}
			fmt.Fprintf(out, "%-10s %-8s %s\n", name, w.Name, strings.Join(addrs, "  "))
			name = ""
		}
	}
	fmt.Fprintf(out, "\nA shell on the border:      %s\n", l.DMZ.Enter())
	fmt.Fprintf(out, "The exchange, in it:        %s ./bin/pbx serve -c FILE\n", l.Exchange.Enter())
	fmt.Fprintf(out, "What is on the Internet:    %s tcpdump -ni %s\n", l.Internet.Enter(), l.Internet.Name)
	fmt.Fprintf(out, "A place to pin XDP maps:    %s\n", l.PinDir())
	fmt.Fprintf(out, "Files:                      %s\n\nCtrl-C takes it down.\n", l.Dir)
}

// person stands where a test would: what fails ends the program with one line.
type person struct {
	out, errs io.Writer
	cleanups  []func()
	failed    bool
}

// giveUp unwinds to run, so that the clean-ups happen.
type giveUp struct{}

func (p *person) Helper()                        {}
func (p *person) Name() string                   { return "labup" }
func (p *person) Logf(format string, a ...any)   { fmt.Fprintf(p.out, format+"\n", a...) }
func (p *person) Failed() bool                   { return p.failed }
func (p *person) Cleanup(f func())               { p.cleanups = append(p.cleanups, f) }
func (p *person) Skip(a ...any)                  { p.Fatalf("%s", fmt.Sprint(a...)) }
func (p *person) Fatalf(format string, a ...any) { p.Errorf(format, a...); panic(giveUp{}) }

func (p *person) Errorf(format string, a ...any) {
	p.failed = true
	fmt.Fprintf(p.errs, format+"\n", a...)
}

func (p *person) TempDir() string {
	dir, err := os.MkdirTemp("", "brickhouse-lab-")
	if err != nil {
		p.Fatalf("lab: %v", err)
	}
	p.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// end runs the clean-ups, last first, and settles the exit code. A panic that is not ours goes on.
func (p *person) end(why any, code int) int {
	for i := len(p.cleanups) - 1; i >= 0; i-- {
		p.cleanups[i]()
	}
	if _, ours := why.(giveUp); why != nil && !ours {
		panic(why)
	}
	if p.failed && code == 0 {
		return 1
	}
	return code
}
