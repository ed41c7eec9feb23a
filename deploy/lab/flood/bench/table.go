package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Table prints the results and how they compare with Ours, minimum to minimum and median to median.
func Table(out io.Writer, all []Result) {
	var ours *Result
	unit := UnitTime
	for i, r := range all {
		if r.Err != nil {
			continue
		}
		unit = r.Unit
		if r.Name == Ours {
			ours = &all[i]
		}
	}
	what := "cycles a packet, of the receiving thread and program"
	if unit == UnitTime {
		what = "ns on the CPU a packet, of the receiving thread and program; this machine does not let cycles be counted"
	}
	fmt.Fprintln(out, what)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "receiver\tbans\tmin\tmedian\tours/it min\tmedian\tpackets/s\tbusy\tnot dropped\t")
	for _, r := range all {
		if r.Err != nil {
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\t-\t-\t-\t-\t\n", r.Name)
			continue
		}
		low, mid := "-", "-"
		if ours != nil && r.Min > 0 && r.Median > 0 {
			low, mid = fmt.Sprintf("%.2f", ours.Min/r.Min), fmt.Sprintf("%.2f", ours.Median/r.Median)
		}
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%.0f\t%s\t%s\t%.0f\t%.0f %%\t%d\t\n", r.Name, r.Bans, r.Min, r.Median, low, mid, r.Rate, 100*r.Busy, r.Delivered)
	}
	t.Flush()
	for _, r := range all {
		switch {
		case r.Err != nil:
			fmt.Fprintf(out, "%s: not measured: %v\n", r.Name, r.Err)
		case r.Note != "":
			fmt.Fprintf(out, "%s: %s\n", r.Name, r.Note)
		}
	}
}
