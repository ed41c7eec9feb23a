package main

import (
	"strings"
	"testing"
)

func TestUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-bans 0", "0 bans"}, {"-only nosuch", "nosuch"}, {"more", "unexpected"}, {"-windows x", "invalid"}, {"-recv-cpu 0", "CPUs"},
	} {
		var out, errs strings.Builder
		if code := run(strings.Fields(c.args), &out, &errs); code != 2 || !strings.Contains(errs.String(), c.want) || out.Len() > 0 {
			t.Errorf("%s: %d %q", c.args, code, errs.String())
		}
	}
}
