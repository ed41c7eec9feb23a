package media

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/pion/rtp"

	"brickhouse/shared/tone"
)

// BenchmarkSessions is what sessions cost whose far sides send and are sent 50 packets a second: parties in rooms, and callers to whom
// something is said. One iteration is 20 ms, in real time; cores is processor time for time, that of the far sides included.
func BenchmarkSessions(b *testing.B) {
	for _, x := range []struct {
		name         string
		rooms, seats int // 0 rooms: something is played
	}{{"room-1x100", 1, 100}, {"rooms-20x10", 20, 10}, {"play-500", 0, 500}} {
		b.Run(x.name, func(b *testing.B) {
			e := newEngine(b, 20000, func(c *Config) { c.MaxPort = c.MinPort + 2*1000 })
			var rooms []*Room
			for range x.rooms {
				rooms = append(rooms, NewRoom())
			}
			var senders []*sender50
			for i := range max(1, x.rooms) * x.seats {
				act := Script(func(ctx context.Context, d *Dialogue) { _, _ = d.Play(ctx, endless{}) })
				if x.rooms > 0 {
					seat := rooms[i%x.rooms].Sit()
					defer seat.Stand()
					act = func(ctx context.Context, d *Dialogue) { _, _ = d.Mix(ctx, seat) }
				}
				senders = append(senders, newSender50(b, e, act))
			}
			b.ResetTimer()
			b.ReportMetric(cores(b, senders), "cores")
		})
	}
}

// cores runs the senders for b.N frames and returns the processor time of the process for each second.
func cores(b *testing.B, senders []*sender50) float64 {
	b.Helper()
	begun, used := time.Now(), processorTime(b)
	for i := range max(b.N, 25) {
		for _, s := range senders {
			s.send(b)
		}
		time.Sleep(time.Until(begun.Add(time.Duration(i+1) * frameTime)))
	}
	return (processorTime(b) - used).Seconds() / time.Since(begun).Seconds()
}

func processorTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// endless is silence without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 0xff
	}
	return len(p), nil
}

// sender50 is a far side that sends a packet whenever it is told.
type sender50 struct {
	conn   *net.UDPConn
	remote netip.AddrPort
	packet rtp.Packet
}

func newSender50(b *testing.B, e *Engine, act Act) *sender50 {
	b.Helper()
	p := newPhone(b, "127.0.0.1")
	answer, session, err := e.Answer(act, p.offer(), loopback, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(session.Close)
	p.take(answer)
	pcm := make([]int16, roomFrame)
	tone.NewSine(400, -20).Read(pcm)
	return &sender50{conn: p.rtp, remote: p.remote, packet: rtp.Packet{
		Header: rtp.Header{Version: 2, SSRC: 1}, Payload: tone.MuLaw.Encode(nil, pcm),
	}}
}

func (s *sender50) send(b *testing.B) {
	s.packet.SequenceNumber++
	s.packet.Timestamp += roomFrame
	raw, err := s.packet.Marshal()
	if err == nil {
		_, err = s.conn.WriteToUDPAddrPort(raw, s.remote)
	}
	if err != nil {
		b.Fatal(err)
	}
}
