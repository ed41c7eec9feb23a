package guard

import (
	"net"
	"slices"
	"testing"
)

func TestInterfacesFor(t *testing.T) {
	var lo string
	all, err := net.Interfaces()
	must(t, err)
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			lo = i.Name
		}
	}
	got, err := InterfacesFor(addr("127.0.0.1"), addr("127.0.0.9"), addr("::ffff:127.0.0.1"))
	if err != nil || !slices.Equal(got, []string{lo}) {
		t.Errorf("%v %v, want %s", got, err, lo)
	}
	if got, err := InterfacesFor(addr("192.0.2.1")); err == nil {
		t.Errorf("%v", got)
	}
	if got, err := InterfacesFor(addr("0.0.0.0")); err == nil && slices.Contains(got, lo) {
		t.Errorf("%v: the loopback is in", got)
	}
}
