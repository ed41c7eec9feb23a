package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/sys/unix"

	"brickhouse/shared/transport"
	"brickhouse/shared/transport/transporttest"
	"brickhouse/shared/verdict"
)

// T17: pipelined messages arrive in order, and their answers too.
func TestStreamOrder(t *testing.T) {
	rec := newRecorder()
	i := serve(t, transport.Config{Network: transport.TCP}, rec)
	c := dialTCP(t, i.Local())
	const n = 500
	var all bytes.Buffer
	for k := range n {
		all.Write(request("order", k+1))
	}
	go func() { // in odd pieces
		for all.Len() > 0 {
			if _, err := c.Write(all.Next(997)); err != nil {
				return
			}
		}
	}()
	r := bufio.NewReader(c)
	for k := range n {
		for found := false; !found; {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("answer %d: %v", k+1, err)
			}
			if strings.HasPrefix(line, "CSeq: ") {
				found = true
				if line != fmt.Sprintf("CSeq: %d OPTIONS\r\n", k+1) {
					t.Fatalf("answer %d is %q", k+1, line)
				}
			}
		}
	}
	for k, m := range rec.WaitMessages(t, n) {
		if seqOf(m.Msg) != k+1 {
			t.Fatalf("message %d has number %d", k, seqOf(m.Msg))
		}
	}
	f := rec.Messages()[0].Flow
	if got, ok := i.Flow(f.ID()); !ok || got != f || !f.Verified() || !f.Reliable() || f.Interface() != i {
		t.Errorf("flow by ID %q: %v %v", f.ID(), got, ok)
	}
	_ = c.Close()
	rec.Wait(t, "the end", func() bool { return len(rec.Ends()) == 1 })
	if _, ok := i.Flow(f.ID()); ok || len(i.Flows()) != 0 {
		t.Error("an ended flow is still found")
	}
	if err := f.Send([]byte("x")); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("sending on an ended flow: %v", err)
	}
}

// Slowloris (threats T14): each way of doing nothing ends, with its reason.
func TestSlowConnectionsEnd(t *testing.T) {
	whole := request("slow", 1)
	for _, tt := range []struct {
		name  string
		send  [][]byte
		drip  []byte // sent over and over, every 20 ms
		want  verdict.Reason
		pongs bool // its pings are answered, which gains it no time
	}{
		{name: "says nothing", want: verdict.RequestTimeout},
		{name: "half a message", send: [][]byte{whole[:50]}, want: verdict.RequestTimeout},
		{name: "drips line ends", drip: []byte("\r\n"), want: verdict.RequestTimeout},
		{name: "drips a header", send: [][]byte{whole[:50]}, drip: []byte("a"), want: verdict.RequestTimeout},
		{name: "a message, then nothing", send: [][]byte{whole}, want: verdict.IdleTimeout},
		{name: "a message, then pings", send: [][]byte{whole}, drip: []byte("\r\n\r\n"), want: verdict.IdleTimeout, pongs: true},
		{name: "a message, then half of one", send: [][]byte{whole, whole[:50]}, want: verdict.RequestTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := &transporttest.Recorder{}
			i := serve(t, transport.Config{Network: transport.TCP, Limits: quickly()}, rec)
			c := dialTCP(t, i.Local())
			for _, b := range tt.send {
				write(t, c, b)
			}
			stop := make(chan struct{})
			var drips sync.WaitGroup
			if tt.drip != nil {
				drips.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(20 * time.Millisecond):
							_, _ = c.Write(tt.drip)
						}
					}
				})
			}
			rec.Wait(t, "the end", func() bool { return len(rec.Ends()) == 1 })
			close(stop)
			drips.Wait()
			if why := rec.Ends()[0].Why; why != tt.want {
				t.Errorf("ended for %q, want %q", why, tt.want)
			}
			if got := ends(t, c); len(bytes.ReplaceAll(got, []byte("\r\n"), nil)) != 0 || (len(got) != 0) != tt.pongs {
				t.Errorf("answered by %q", got)
			}
		})
	}
}

// A trusted connection may be silent, even if it becomes trusted while we wait; its pings are answered.
func TestTrustedConnectionStays(t *testing.T) {
	rec := &transporttest.Recorder{}
	limits := quickly()
	i := serve(t, transport.Config{Network: transport.TCP, Limits: limits}, rec)
	c := dialTCP(t, i.Local())
	write(t, c, request("trust", 1))
	f := rec.WaitMessages(t, 1)[0].Flow
	for range 2 { // the second time changes nothing
		if !f.MarkTrusted() {
			t.Fatal("no room for one trusted connection")
		}
	}
	if trusted, strangers := i.ConnectionCounts(); trusted != 1 || strangers != 0 {
		t.Errorf("%d trusted, %d strangers", trusted, strangers)
	}
	time.Sleep(2 * limits.IdleTimeout)
	write(t, c, []byte("\r\n\r\n"))
	buf := make([]byte, 10)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "\r\n" {
		t.Errorf("ping answered by %q, %v", buf[:n], err)
	}
	write(t, c, request("trust", 2))
	rec.WaitMessages(t, 2)
	f.Close(verdict.Shutdown)
	rec.Wait(t, "the end", func() bool { return len(rec.Ends()) == 1 })
	if why := rec.Ends()[0].Why; why != verdict.Shutdown {
		t.Errorf("ended for %q", why)
	}
}

// What breaks the framing is answered, if the owner wants that, and the connection ended.
func TestFramingFaultIsAnsweredThenClosed(t *testing.T) {
	rec := &transporttest.Recorder{OnUnparsed: func(f *transport.Flow, _ []byte, v verdict.Verdict) {
		if v.Action == verdict.Reject {
			_ = f.Send(fmt.Appendf(nil, "SIP/2.0 %d x\r\n\r\n", v.Code))
		}
	}}
	i := serve(t, transport.Config{Network: transport.TCP, Limits: transport.Limits{MaxMessage: 3000}}, rec)
	for _, tt := range []struct{ name, in, answer string }{
		{"no length", "OPTIONS sip:a@b SIP/2.0\r\nCall-ID: 1\r\n\r\n" + strings.Repeat("rest", 1000), "SIP/2.0 400 x"},
		{"too large", "OPTIONS sip:a@b SIP/2.0\r\nl: 100000\r\n\r\n" + strings.Repeat("rest", 5000), "SIP/2.0 513 x"},
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
	} {
		c := dialTCP(t, i.Local())
		write(t, c, []byte(tt.in))
		got, err := io.ReadAll(c) // a reset could overtake the answer
		if strings.TrimSpace(string(got)) != tt.answer || err != nil {
			t.Errorf("%s: answered %q, %v; want %q", tt.name, got, err, tt.answer)
		}
	}
	rec.Wait(t, "three ends", func() bool { return len(rec.Ends()) == 3 })
	if un := rec.Unparseds(); len(un) != 3 {
		t.Errorf("%d unparsed, want 3", len(un))
	}
}

// A peer that does not read loses its connection, not our memory; the sender is never held up.
func TestPeerThatDoesNotRead(t *testing.T) {
	rec := &transporttest.Recorder{}
	limits := transport.Limits{SendQueue: 64 << 10, WriteTimeout: time.Minute}
	i := serve(t, transport.Config{Network: transport.TCP, Limits: limits}, rec)
	c := dialTCP(t, i.Local())
	write(t, c, request("deaf", 1))
	f := rec.WaitMessages(t, 1)[0].Flow
	var err error
	for n := 0; n < 100_000 && err == nil; n++ {
		err = f.Send(make([]byte, 4096))
	}
	if !errors.Is(err, transport.ErrQueueFull) {
		t.Fatalf("sending for ever: %v", err)
	}
	rec.Wait(t, "the end", func() bool { return len(rec.Ends()) == 1 })
	if why := rec.Ends()[0].Why; why != verdict.QueueFull {
		t.Errorf("ended for %q", why)
	}
	if err := f.Send([]byte("x")); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("sending afterwards: %v", err)
	}
}

// What was sent before Close arrives.
func TestCloseFlushes(t *testing.T) {
	rec := &transporttest.Recorder{OnMessage: func(f *transport.Flow, msg sip.Message) {
		for range 50 {
			answer200(f, msg)
		}
		f.Close(verdict.Shutdown)
	}}
	i := serve(t, transport.Config{Network: transport.TCP}, rec)
	c := dialTCP(t, i.Local())
	write(t, c, request("flush", 1))
	if n := bytes.Count(ends(t, c), []byte("SIP/2.0 200")); n != 50 {
		t.Errorf("%d of 50 responses arrived", n)
	}
}

// Caps: the oldest stranger of a source makes room, trusted ones stay, a banned source is not let in.
func TestConnectionCaps(t *testing.T) {
	rec := newRecorder()
	rec.OnAccept = func(_ *transport.Interface, remote netip.AddrPort) verdict.Verdict {
		if remote.Addr() == netip.MustParseAddr("127.0.0.66") {
			return verdict.Dropped(verdict.HostBanned)
		}
		return verdict.Passed
	}
	i := serve(t, transport.Config{Network: transport.TCP, Limits: transport.Limits{MaxPerSource: 2}}, rec)
	trusted := dialTCP(t, i.Local())
	write(t, trusted, request("trusted", 1))
	rec.WaitMessages(t, 1)[0].Flow.MarkTrusted()
	var conns []net.Conn
	for n := range 3 {
		c := dialTCP(t, i.Local())
		write(t, c, request("stranger", n+1))
		rec.WaitMessages(t, n+2)
		conns = append(conns, c)
	}
	ends(t, conns[0])
	rec.Wait(t, "the end", func() bool { return len(rec.Ends()) == 1 })
	if e := rec.Ends()[0]; e.Why != verdict.ConnectionLimit || e.Flow.Remote().String() != conns[0].LocalAddr().String() {
		t.Errorf("ended: %v for %q, want the oldest stranger", e.Flow, e.Why)
	}
	for _, c := range []net.Conn{trusted, conns[1], conns[2]} {
		write(t, c, request("still", 1))
	}
	rec.WaitMessages(t, 7)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}}
	if c, err := d.Dial("tcp", i.Local().String()); err == nil {
		_ = c.SetDeadline(time.Now().Add(patience))
		ends(t, c)
		_ = c.Close()
	}
	rec.Wait(t, "the drop", func() bool { return len(rec.Drops()) == 1 })
	if why := rec.Drops()[0].Why; why != verdict.HostBanned {
		t.Errorf("dropped for %q", why)
	}
}

// T2: Dial reaches the peer that is asked for, never a stranger who connected to us, and shares its connection.
func TestDialReachesWhoIsAsked(t *testing.T) {
	here, there := newRecorder(), newRecorder()
	i := serve(t, transport.Config{Network: transport.TCP, Listen: ap("127.0.0.1:0")}, here)
	far := serve(t, transport.Config{Network: transport.TCP, Listen: ap("127.0.0.5:0")}, there)
	stranger := dialTCP(t, i.Local())
	write(t, stranger, request("stranger", 1))
	here.WaitMessages(t, 1)

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var flows [8]*transport.Flow
	var wait sync.WaitGroup
	for n := range flows {
		wait.Go(func() {
			f, err := i.Dial(ctx, far.Local())
			if err != nil {
				t.Error(err)
				return
			}
			flows[n] = f
		})
	}
	wait.Wait()
	f := flows[0]
	for n := range flows {
		if flows[n] == nil || flows[n] != f {
			t.Fatalf("dial %d has another connection", n)
		}
	}
	if f.Remote() != far.Local() || f.Local().Addr() != i.Local().Addr() {
		t.Errorf("dialled %v", f)
	}
	if host, port := f.ViaHost(); host != "127.0.0.1" || port != int(i.Local().Port()) {
		t.Errorf("ViaHost %s %d of a dialled flow, want our listening port", host, port)
	}
	if err := f.Send(request("dialled", 7)); err != nil {
		t.Fatal(err)
	}
	if m := there.WaitMessages(t, 1)[0]; seqOf(m.Msg) != 7 {
		t.Errorf("far end got message %d", seqOf(m.Msg))
	}
	here.WaitMessages(t, 2) // the 200 came back on the same connection
	f.Close(verdict.NormalClearing)
	here.Wait(t, "the end", func() bool { return len(here.Ends()) == 1 })
	again, err := i.Dial(ctx, far.Local())
	if err != nil || again == f {
		t.Errorf("dial after the end: %v %v", again, err)
	}
	if _, err := i.Dial(ctx, ap("127.0.0.5:1")); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dialling a closed port: %v", err)
	}
	done, stop := context.WithCancel(ctx)
	stop()
	if _, err := i.Dial(done, ap("127.0.0.6:1")); err == nil {
		t.Error("dialling with an ended context works")
	}
	lone, err := transport.Dial(ctx, transport.DialConfig{Name: "core", Network: transport.TCP, Remote: far.Local()}, here)
	if err != nil {
		t.Fatal(err)
	}
	if lone.Interface() == nil || lone.Interface().Name() != "core" {
		t.Errorf("a dialled flow's interface: %v", lone.Interface())
	}
	lone.Close(verdict.Shutdown)
	if _, err := transport.Dial(ctx, transport.DialConfig{Network: transport.UDP, Remote: far.Local()}, here); err == nil {
		t.Error("dialling UDP works")
	}
}

func TestCloseEndsConnections(t *testing.T) {
	rec := newRecorder()
	i := serve(t, transport.Config{Network: transport.TCP}, rec)
	c := dialTCP(t, i.Local())
	write(t, c, request("close", 1))
	rec.WaitMessages(t, 1)
	i.Close()
	i.Close()
	rec.Wait(t, "the end", func() bool { return len(rec.Ends()) == 1 })
	if why := rec.Ends()[0].Why; why != verdict.Shutdown {
		t.Errorf("ended for %q", why)
	}
	if _, err := i.Dial(context.Background(), ap("127.0.0.1:9")); err == nil {
		t.Error("dialling on a closed interface works")
	}
}

// T5: with no descriptor left, the accept loop goes on, and the oldest stranger makes room. It runs in a process of its own,
// since the limit is the process's.
func TestOutOfDescriptors(t *testing.T) {
	const mark = "BRICKHOUSE_TEST_EMFILE"
	if os.Getenv(mark) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOutOfDescriptors$", "-test.timeout=60s")
		cmd.Env = append(os.Environ(), mark+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	rec := newRecorder()
	i := serve(t, transport.Config{Network: transport.TCP, Limits: transport.Limits{MaxPerSource: 1000}}, rec)
	const descriptors = 64
	lim := unix.Rlimit{Cur: descriptors, Max: descriptors}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for len(conns) < descriptors { // both ends are ours: half of them
		c, err := net.Dial("tcp", i.Local().String())
		if err != nil {
			break
		}
		conns = append(conns, c)
	}
	rec.Wait(t, "an evicted stranger", func() bool {
		for _, e := range rec.Ends() {
			if e.Why == verdict.ConnectionLimit {
				return true
			}
		}
		return false
	})
	for _, c := range conns {
		_ = c.Close()
	}
	c := dialTCP(t, i.Local())
	write(t, c, request("after", 1))
	if got := readStatus(t, bufio.NewReader(c)); got != "SIP/2.0 200 OK" {
		t.Errorf("after the shortage: %q", got)
	}
}

func TestVirtualFlows(t *testing.T) {
	a, b := newRecorder(), &transporttest.Recorder{}
	ea, eb, err := transporttest.Pipe(transport.TCP, a, b)
	if err != nil {
		t.Fatal(err)
	}
	if err := eb.Flow.Send(request("pipe", 3)); err != nil {
		t.Fatal(err)
	}
	if m := b.WaitMessages(t, 1)[0]; seqOf(m.Msg) != 3 || m.Flow != eb.Flow {
		t.Errorf("answer %d", seqOf(m.Msg))
	}
	if f, ok := ea.Flow.Interface().Flow(ea.Flow.ID()); !ok || f != ea.Flow {
		t.Error("an attached flow is not found")
	}
	ea.Flow.Close(verdict.NormalClearing)
	ea.Flow.Close(verdict.Shutdown)
	a.Wait(t, "both ends", func() bool { return len(a.Ends()) == 1 && len(b.Ends()) == 1 })
	if why := a.Ends()[0].Why; why != verdict.NormalClearing {
		t.Errorf("ended for %q", why)
	}
	if err := eb.Flow.Send(nil); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("sending on an ended pipe: %v", err)
	}
	if _, open := <-eb.Flow.Closed(); open || len(ea.Flow.Interface().Flows()) != 0 {
		t.Error("an ended flow is still there")
	}
}
