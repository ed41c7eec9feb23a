package anchor

import (
	"runtime"
	"testing"
)

// heldCalls is how many calls BenchmarkMemory holds at once.
const heldCalls = 500

// BenchmarkMemory tells what an anchored call takes of the heap: its session, keys and contexts, without what the kernel has for its
// sockets and without signalling.
func BenchmarkMemory(b *testing.B) {
	for name, suite := range map[string]string{"RTP": "", cm: cm, gcm: gcm} {
		b.Run(name, func(b *testing.B) {
			a := newAnchor(b, 30000, func(c *Config) { c.MaxPort = 30000 + 4*heldCalls + 199 })
			out, in := newPhone(b, "127.0.0.1", suite), newPhone(b, "127.0.0.1", "")
			from := outside()
			if suite == "" {
				from.Realm.Secure = Never
			}
			hold := func() uint64 {
				sessions := make([]*Session, heldCalls)
				before := heap()
				for i := range sessions {
					sessions[i] = a.Open("x", from, inside(), Events{})
					connect(b, sessions[i], out, in)
				}
				after := heap()
				for _, s := range sessions {
					s.Close()
				}
				return (after - before) / heldCalls
			}
			hold() // tables grow once
			for b.Loop() {
				b.ReportMetric(float64(hold()), "B/call")
			}
		})
	}
}

// heap is what lives on the heap.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
