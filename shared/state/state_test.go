package state

import (
	"errors"
	"strings"
	"testing"
)

func TestVerOrder(t *testing.T) {
	order := []Ver{{}, {0, 1}, {0, 9}, {1, 0}, {1, 1}, {2, 0}}
	for i, v := range order {
		for j, w := range order {
			if v.Less(w) != (i < j) {
				t.Errorf("%v.Less(%v) = %v", v, w, v.Less(w))
			}
		}
	}
}

func TestKeyValidate(t *testing.T) {
	for _, tt := range []struct {
		k  Key
		ok bool
	}{
		{Key{"rows", "0", "x"}, true},
		{Key{"a-b_9", "0", "\x00. >"}, true},
		{Key{"rows", "0", strings.Repeat("x", MaxID)}, true},
		{Key{"rows", "0", strings.Repeat("x", MaxID+1)}, false},
		{Key{"rows", "0", ""}, false},
		{Key{"", "0", "x"}, false},
		{Key{"Rows", "0", "x"}, false},
		{Key{"rows.x", "0", "x"}, false},
		{Key{"rows", "", "x"}, false},
		{Key{"rows", "*", "x"}, false},
		{Key{strings.Repeat("x", MaxName+1), "0", "x"}, false},
	} {
		if err := tt.k.Validate(); (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrBadKey) {
			t.Errorf("%.60q: %v", tt.k, err)
		}
	}
	if got := (Key{"rows", "0", "x"}).String(); got != "rows/0/x" {
		t.Error(got)
	}
}
