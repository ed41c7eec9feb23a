package callcontrol

import "testing"

func TestDialled(t *testing.T) {
	for in, want := range map[string]string{"1001": "1001", "1001;phone-context=x": "1001", "*43%23": "*43#", "%23%23": "##", "": ""} {
		if got := Dialled(in); got != want {
			t.Errorf("Dialled(%q) = %q, want %q", in, got, want)
		}
	}
}
