package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/spf13/cobra"

	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/command"
	"brickhouse/shared/verdict"
)

// snapLength is how much of a packet the kernel filter hands over, in bytes.
const snapLength = 1536

// errEnough ends a capture that has what it was to have.
var errEnough = errors.New("enough")

func banCapture(a *command.Admin) *cobra.Command {
	var file, reasons string
	var count int
	var length time.Duration
	c := &cobra.Command{
		Use: "capture", Short: "Write dropped packets to a pcapng file, each with its reason", Args: cobra.NoArgs,
		Long: "Writes packets that the kernel filter drops to a pcapng file, each with the reason as its comment: a capture on the interface no\n" +
			"longer sees them. It ends after --count packets, after --for, or with Ctrl-C.",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkCapture(file, reasons, count, length); err != nil {
				return err
			}
			ctx := c.Context()
			if length > 0 {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, length)
				defer stop()
			}
			c.SetContext(ctx)
			out, err := createOutput(c, file)
			if err != nil {
				return command.Bad(err)
			}
			w := &capture{out: out, reasons: reasonsOf(reasons), left: count}
			err = streamJSON(c, a, "/bans/capture", w.event)
			if errors.Is(err, errEnough) || ctx.Err() != nil {
				err = nil
			}
			if err != nil {
				return errors.Join(err, out.Close())
			}
			if err := w.close(); err != nil {
				return fmt.Errorf("writing the capture: %w", err)
			}
			_, err = fmt.Fprintf(c.ErrOrStderr(), "%d packets; %d more were dropped while this was busy\n", w.written, w.lost)
			return err
		},
	}
	c.Flags().StringVarP(&file, "write", "w", "", "`FILE` to write, - for standard output")
	c.Flags().StringVar(&reasons, "reason", "", "only packets dropped for these `REASONS`, separated by commas")
	c.Flags().IntVar(&count, "count", 0, "end after `N` packets; 0: do not")
	c.Flags().DurationVar(&length, "for", 0, "end after this `TIME`; 0: do not")
	return c
}

// checkCapture says what is wrong with the flags of a capture.
func checkCapture(file, reasons string, count int, length time.Duration) error {
	if file == "" {
		return command.Badf("name the file to write with -w, or - for standard output")
	}
	if count < 0 {
		return command.Badf("--count %d is no number of packets", count)
	}
	if length < 0 {
		return command.Badf("--for %s is no length of time", length)
	}
	known := guard.KernelReasons()
	for _, r := range reasonsOf(reasons) {
		if !slices.Contains(known, verdict.Reason(r)) {
			return command.Badf("%q is no reason that the kernel filter drops for; use of %s", r, strings.Trim(fmt.Sprint(known), "[]"))
		}
	}
	return nil
}

// createOutput opens a file. What it holds is overwritten only when the capture begins.
func createOutput(c *cobra.Command, name string) (io.WriteCloser, error) {
	if name == "-" {
		return nopCloser{c.OutOrStdout()}, nil
	}
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// capture writes dropped packets to a pcapng file (draft-ietf-opsawg-pcapng).
type capture struct {
	out        io.WriteCloser
	reasons    []string
	left       int // packets to write; 0: no end
	ng         *pcapgo.NgWriter
	interfaces map[string]int
	written    int
	lost       int
}

func (w *capture) event(ev guard.Event) error {
	w.lost += ev.Lost
	d := ev.Drop
	if d == nil || len(d.Head) == 0 || d.Monitored || !wanted(w.reasons, string(d.Reason)) {
		return nil
	}
	id, err := w.interfaceID(d.Interface)
	if err != nil {
		return err
	}
	comment := string(d.Reason)
	if d.List != "" {
		comment += " (" + d.List + ")"
	}
	ci := gopacket.CaptureInfo{Timestamp: ev.At, CaptureLength: len(d.Head), Length: d.Length, InterfaceIndex: id}
	if err := w.ng.WritePacketWithOptions(ci, d.Head, pcapgo.NgPacketOptions{Comments: []string{comment}}); err != nil {
		return fmt.Errorf("writing the capture: %w", err)
	}
	if err := w.ng.Flush(); err != nil {
		return fmt.Errorf("writing the capture: %w", err)
	}
	if w.written++; w.written == w.left {
		return errEnough
	}
	return nil
}

// interfaceID is the number of a network interface in the file.
func (w *capture) interfaceID(name string) (int, error) {
	if id, ok := w.interfaces[name]; ok {
		return id, nil
	}
	i := pcapgo.NgInterface{Name: name, LinkType: layers.LinkTypeEthernet, SnapLength: snapLength, TimestampResolution: 9}
	if w.ng == nil {
		return 0, w.begin(i)
	}
	id, err := w.ng.AddInterface(i)
	if err != nil {
		return 0, fmt.Errorf("writing the capture: %w", err)
	}
	w.interfaces[name] = id
	return id, nil
}

func (w *capture) begin(first pcapgo.NgInterface) (err error) {
	if f, ok := w.out.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			if err := f.Truncate(0); err != nil {
				return fmt.Errorf("writing the capture: %w", err)
			}
		}
	}
	w.ng, err = pcapgo.NewNgWriterInterface(w.out, first, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "sbc ban capture"}})
	if err != nil {
		return fmt.Errorf("writing the capture: %w", err)
	}
	w.interfaces = map[string]int{first.Name: 0}
	return nil
}

func (w *capture) close() error {
	if w.ng == nil { // an empty capture is a file, too
		if err := w.begin(pcapgo.NgInterface{Name: "none", LinkType: layers.LinkTypeEthernet, SnapLength: snapLength}); err != nil {
			return err
		}
	}
	return errors.Join(w.ng.Flush(), w.out.Close())
}
