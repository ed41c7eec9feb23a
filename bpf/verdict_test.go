package bpf

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"brickhouse/bpf/table"
)

// The C side, the generated Go and the words are one table.
func TestVerdictHeader(t *testing.T) {
	src, err := os.ReadFile("xdp/verdict.h")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\tREASON_([A-Z_]+) = (\d+), +/\* ("")?([a-z0-9-]*) \*/$`).FindAllStringSubmatch(string(src), -1)
	if len(found) != len(Reasons()) {
		t.Fatalf("verdict.h has %d reasons, Go has %d", len(found), len(Reasons()))
	}
	for i, m := range found {
		if n, _ := strconv.Atoi(m[2]); n != i {
			t.Errorf("REASON_%s = %s at place %d: the numbers have a hole", m[1], m[2], i)
		}
		if Reason(i).String() != m[4] {
			t.Errorf("reason %d: %q in Go, %q in C", i, Reason(i), m[4])
		}
		if w := strings.ToLower(strings.ReplaceAll(m[1], "_", "-")); i > 0 && w != m[4] {
			t.Errorf("REASON_%s is called %q", m[1], m[4])
		}
	}
	for name, want := range map[string]int{"FAMILIES": familySlots, "REASONS": reasonSlots, "ACTIONS": actionSlots} {
		if !strings.Contains(string(src), "#define "+name+" "+strconv.Itoa(want)+"\n") {
			t.Errorf("verdict.h does not define %s as %d", name, want)
		}
	}
	if int(reasons) > reasonSlots {
		t.Error("more reasons than counters")
	}
}

func TestGeneratedEnums(t *testing.T) {
	for r, want := range map[edgeReason]Reason{
		edgeReasonREASON_NONE:            ReasonNone,
		edgeReasonREASON_HOST_BANNED:     ReasonHostBanned,
		edgeReasonREASON_NETWORK_BANNED:  ReasonNetworkBanned,
		edgeReasonREASON_BAD_PACKET:      ReasonBadPacket,
		edgeReasonREASON_TOO_MANY_TAGS:   ReasonTooManyTags,
		edgeReasonREASON_MARTIAN_SOURCE:  ReasonMartianSource,
		edgeReasonREASON_FRAGMENT:        ReasonFragment,
		edgeReasonREASON_EXTENSION_CHAIN: ReasonExtensionChain,
		edgeReasonREASON_PORT_CLOSED:     ReasonPortClosed,
		edgeReasonREASON_NOT_SIP:         ReasonNotSIP,
		edgeReasonREASON_SOURCE_RATE:     ReasonSourceRate,
		edgeReasonREASON_STRANGERS_RATE:  ReasonStrangersRate,
		edgeReasonREASON_CONNECTION_RATE: ReasonConnectionRate,
	} {
		if Reason(r) != want {
			t.Errorf("reason %d in C is %d in Go", r, want)
		}
	}
	for a, want := range map[edgeAction]Action{edgeActionACTION_PASS: ActionPass, edgeActionACTION_DROP: ActionDrop,
		edgeActionACTION_MONITOR: ActionMonitor, edgeActionACTION_ALLOW: ActionAllow, edgeActionACTION_FORWARD: ActionForward} {
		if Action(a) != want {
			t.Errorf("action %d in C is %d in Go", a, want)
		}
	}
	for f, want := range map[edgeFamily]Family{edgeFamilyFAMILY_OTHER: FamilyOther, edgeFamilyFAMILY_IPV4: FamilyIPv4,
		edgeFamilyFAMILY_IPV6: FamilyIPv6} {
		if Family(f) != want {
			t.Errorf("family %d in C is %d in Go", f, want)
		}
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		ReasonHostBanned.String(): "host-banned", Reason(77).String(): "reason-77", ReasonNone.String(): "",
		ActionMonitor.String(): "monitor", Action(9).String(): "action-9", FamilyIPv6.String(): "ipv6", Family(9).String(): "family-9",
		ModeNative.String(): "native", ModeGeneric.String(): "generic", ModeAuto.String(): "auto", Mode(9).String(): "mode-9",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The sizes and numbers that Go has are those of the maps.
func TestMapsHeader(t *testing.T) {
	spec, err := loadEdge()
	must(t, err)
	for name, want := range map[string]uint32{edgeMapDir4: table.Dir4Lines, edgeMapDir6: table.Dir6Lines, edgeMapDir6w: table.Dir6wLines,
		edgeMapTables: 2 * table.Tables, edgeMapDeep6: 2 * table.MaxDeep, edgeMapPorts: 65536, edgeMapOwn: MaxOwn} {
		if got := spec.Maps[name].MaxEntries; got != want {
			t.Errorf("%s holds %d, want %d", name, got, want)
		}
	}
	var c edgeCpu
	if len(c.Counts) != familySlots*reasonSlots*actionSlots || len(c.Dropped) != table.Lists || len(c.Monitored) != table.Lists {
		t.Errorf("%d counters, %d lists", len(c.Counts), len(c.Dropped))
	}
	if families > familySlots {
		t.Error("more families than counters")
	}
	src, err := os.ReadFile("xdp/maps.h")
	must(t, err)
	for name, want := range map[string]int{"LIST_ALLOW": int(table.Allow), "LIST_KNOWN": int(table.Known), "LIST_LIMITED": int(table.Limited),
		"TABLE_HOSTS4": table.Hosts4, "TABLE_HOSTS6": table.Hosts6, "TABLE_NETS4": table.Nets4, "TABLE_RULES4": table.Rules4, "TABLE_LISTED4": table.Listed4,
		"PORT_SIP_UDP": portSIPUDP, "PORT_SIP_TCP": portSIPTCP, "PORT_MEDIA": portMedia, "PORT_OPEN": portOpen, "EVENT_HEAD": eventHead,
		"EVENT_FULL": eventFull, "FRAGMENTS_RATE": int(FragmentsRate), "FRAGMENTS_DROP": int(FragmentsDrop), "FRAGMENTS_PASS": int(FragmentsPass)} {
		if !regexp.MustCompile(`(?m)^#define ` + name + ` +` + strconv.Itoa(want) + `\b`).Match(src) {
			t.Errorf("maps.h does not define %s as %d", name, want)
		}
	}
}
