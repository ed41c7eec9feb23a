package bpf

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
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
	for name, want := range map[string]int{"FAMILIES": int(families), "REASONS": reasonSlots, "ACTIONS": int(actions)} {
		if !strings.Contains(string(src), "#define "+name+" "+strconv.Itoa(want)+"\n") {
			t.Errorf("verdict.h does not define %s as %d", name, want)
		}
	}
	if int(reasons) > reasonSlots {
		t.Error("more reasons than counters")
	}
}

func TestGeneratedEnums(t *testing.T) {
	for got, want := range map[int]int{
		int(edgeReasonREASON_NONE):           int(ReasonNone),
		int(edgeReasonREASON_HOST_BANNED):    int(ReasonHostBanned),
		int(edgeReasonREASON_NETWORK_BANNED): int(ReasonNetworkBanned),
		int(edgeReasonREASON_BAD_PACKET):     int(ReasonBadPacket),
		int(edgeReasonREASON_TOO_MANY_TAGS):  int(ReasonTooManyTags),
		int(edgeReasonREASON_MARTIAN_SOURCE): int(ReasonMartianSource),
	} {
		if got != want {
			t.Errorf("reason %d in C is %d in Go", got, want)
		}
	}
	for a, want := range map[edgeAction]Action{edgeActionACTION_PASS: ActionPass, edgeActionACTION_DROP: ActionDrop,
		edgeActionACTION_MONITOR: ActionMonitor, edgeActionACTION_ALLOW: ActionAllow} {
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

// The capacities that Go tells are those of the maps.
func TestCapacities(t *testing.T) {
	spec, err := loadEdge()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint32{edgeMapHost4: MaxBans, edgeMapHost6: MaxBans, edgeMapSite6: MaxBans,
		edgeMapNetwork4: MaxNetworks, edgeMapNetwork6: MaxNetworks, edgeMapAllow4: MaxAllowed, edgeMapAllow6: MaxAllowed,
		edgeMapCounts: uint32(families) * reasonSlots * uint32(actions)} {
		if got := spec.Maps[name].MaxEntries; got != want {
			t.Errorf("%s holds %d, want %d", name, got, want)
		}
	}
}
