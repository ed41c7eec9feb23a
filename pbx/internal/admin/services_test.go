package admin

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/store"
)

// TestServices: what an extension has set is set, shown and ended by commands.
func TestServices(t *testing.T) {
	r := newRig(t)
	r.do("extension", "add", "1001")
	for _, c := range []struct{ args, want string }{
		{"extension forward 1001 always 1002", "extension 1001 forwards always to 1002\n"},
		{"extension forward 1001 no-answer 030123 --after 15s", "extension 1001 forwards no-answer to 030123\n"},
		{"extension forward 1001 always off", "extension 1001 does not forward always\n"},
		{"extension dnd 1001 on", "extension 1001: dnd is on\n"},
		{"extension waiting 1001 off", "extension 1001: waiting is off\n"},
		{"extension block 1001 030666 on", "extension 1001 takes no calls of 030666\n"},
		{"extension block 1001 anonymous on", "extension 1001 takes no calls of anonymous\n"},
		{"dialplan night on", "night is on\n"},
		{"dialplan night", "night is on\n"},
	} {
		if got := r.do(strings.Split(c.args, " ")...); got != c.want {
			t.Errorf("%s: %q", c.args, got)
		}
	}
	shown := r.do("extension", "show", "1001")
	for _, want := range []string{"forwards no-answer  030123 after 15s", "do not disturb      on", "call waiting        off", "takes no calls of   anonymous 030666"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q lacks %q", shown, want)
		}
	}
	if strings.Contains(shown, "forwards always") {
		t.Errorf("%q", shown)
	}
	var a callcontrol.Account
	if err := json.Unmarshal([]byte(r.do("extension", "show", "1001", "--json")), &a); err != nil || a.Services == nil ||
		a.Services.Forward(store.NoAnswer) != "030123" || !a.Services.DND || !a.Services.NoWaiting || !slices.Equal(a.Services.Blocked, []string{"030666"}) {
		t.Errorf("%+v, %v", a.Services, err)
	}
}

// TestWrongServices holds that wrong wishes are named and end with status 2.
func TestWrongServices(t *testing.T) {
	r := newRig(t)
	r.do("extension", "add", "1001")
	for _, c := range []struct{ args, want string }{
		{"extension forward 1999 always 1001", `no extension "1999"`},
		{"extension forward 1001 always 112", "nobody may be forwarded there"},
		{"extension forward 1001 busy 1002 --after 3s", "--after is a number of seconds"},
		{"extension forward 1001 no-answer 1002 --after 1500ms", "--after is a number of seconds"},
		{"extension dnd 1001 maybe", `"maybe" is neither on nor off`},
		{"extension block 1001 030", "wrong number of arguments"},
		{"extension block 1001 030 1", `"1" is neither on nor off`},
		{"dialplan night maybe", "no such position"},
	} {
		status, out, errs := r.run(strings.Split(c.args, " ")...)
		if status != 2 || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, %q %q, want %s", c.args, status, out, errs, c.want)
		}
	}
}
