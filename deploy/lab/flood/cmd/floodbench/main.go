// Command floodbench prints what one dropped packet costs, with the border's filter and with its peers. It needs root, Linux 5.18, and of
// Debian: iproute2 ethtool ipset iptables nftables xdp-tools kamailio.
//
//	floodbench                        all receivers, a million bans: some three minutes
//	floodbench -quick                 the filter, bare XDP_DROP, ipset and an nft set
//	floodbench -only brickhouse,ipset -bans 100000
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"brickhouse/deploy/lab/flood/bench"
)

// mostTime bounds a run, whatever hangs.
const mostTime = 5 * time.Minute

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) int {
	fs := flag.NewFlagSet("floodbench", flag.ContinueOnError)
	fs.SetOutput(errs)
	var o bench.Options
	quick := fs.Bool("quick", false, "only drop, "+bench.Ours+", ipset and nft-raw")
	only := fs.String("only", "", "names of receivers, with commas: "+strings.Join(bench.Names(), ","))
	fs.IntVar(&o.Bans, "bans", 1_000_000, "sources that are banned and send")
	fs.IntVar(&o.Rounds, "rounds", 2, "turns of each receiver")
	fs.IntVar(&o.Windows, "windows", 3, "measurements in each turn")
	fs.DurationVar(&o.Window, "window", time.Second, "length of each")
	fs.IntVar(&o.SendCPU, "send-cpu", 0, "where the flood is made")
	fs.IntVar(&o.RecvCPU, "recv-cpu", 1, "where it is received")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	switch {
	case fs.NArg() > 0:
		fmt.Fprintf(errs, "floodbench: unexpected argument %q; see floodbench -h\n", fs.Arg(0))
		return 2
	case *only != "":
		o.Only = strings.Split(*only, ",")
	case *quick:
		o.Only = []string{"drop", bench.Ours, "ipset", "nft-raw"}
	}
	if err := o.Check(); err != nil {
		fmt.Fprintf(errs, "floodbench: %v\n", err)
		return 2
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(errs, "floodbench: making network namespaces needs root")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, mostTime)
	defer cancel()
	all, err := bench.Run(ctx, o, func(name string, round int) { fmt.Fprintf(errs, "round %d: %s\n", round, name) })
	bench.Table(out, all)
	if err != nil {
		fmt.Fprintf(errs, "floodbench: %v\n", err)
		return 1
	}
	return 0
}
