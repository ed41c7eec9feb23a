package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"brickhouse/deploy/lab/flood"
)

const (
	xdpAborted = 0
	xdpDrop    = 1

	liveFrames = 1 << 1  // BPF_F_TEST_XDP_LIVE_FRAMES (linux/bpf.h)
	perRun     = 1 << 19 // frames of one system call, each of which waits some milliseconds for the kernel to tidy up
	framesEach = 64      // that the kernel hands over at once

	sourcePort = 5060

	// Where things are in a frame. In IPv6 the part of the source that changes happens to be where IPv4 has all of it.
	offCheck  = 24
	offSource = 26
	offEnd4   = 14 + 20 + 8
	offEnd6   = 14 + 40 + 8
)

// generator sends to one veth from inside the kernel.
type generator struct {
	prog  *ebpf.Program
	frame []byte
}

// newGenerator makes a generator of OPTIONS from the first n sources, that leave by the interface with the given index.
func newGenerator(index int, src, dst net.HardwareAddr, to netip.AddrPort, n int) (*generator, error) {
	f, err := flood.NewFrame(src, dst, to, flood.Options(to))
	if err != nil {
		return nil, err
	}
	v6 := to.Addr().Is6()
	zero := netip.IPv4Unspecified()
	if v6 {
		zero = netip.MustParseAddr("2001:db8::7") // offSource is written over
	}
	f.From(netip.AddrPortFrom(zero, sourcePort))
	base := uint32(^binary.BigEndian.Uint16(f.Bytes[offCheck:])) // the header's sum without its source
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "bh_flood", Type: ebpf.XDP, License: "MIT", Instructions: program(index, n, base, v6)})
	if err != nil {
		return nil, fmt.Errorf("loading the generator: %w", err)
	}
	return &generator{prog: p, frame: f.Bytes}, nil
}

// program writes a random source into the frame and sends it.
func program(index, n int, base uint32, v6 bool) asm.Instructions {
	end := int32(offEnd4)
	if v6 {
		end = offEnd6
	}
	ins := asm.Instructions{
		asm.LoadMem(asm.R7, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R7),
		asm.Add.Imm(asm.R4, end),
		asm.JGT.Reg(asm.R4, asm.R3, "short"),
		asm.FnGetPrandomU32.Call(),
		asm.Mod.Imm32(asm.R0, int32(n)),
		asm.LoadImm(asm.R1, sourceFactor, asm.DWord),
		asm.Mul.Reg32(asm.R0, asm.R1),
		asm.And.Imm32(asm.R0, sourceTop-1),
		asm.Or.Imm32(asm.R0, sourceTop),
		asm.Mov.Reg32(asm.R1, asm.R0),
		asm.HostTo(asm.BE, asm.R1, asm.Word),
		asm.StoreMem(asm.R7, offSource, asm.R1, asm.Word),
	}
	if !v6 { // RFC 1071
		ins = append(ins,
			asm.Mov.Reg32(asm.R1, asm.R0),
			asm.RSh.Imm32(asm.R1, 16),
			asm.And.Imm32(asm.R0, 0xffff),
			asm.Add.Reg32(asm.R0, asm.R1),
			asm.Add.Imm32(asm.R0, int32(base)),
		)
		for range 2 {
			ins = append(ins,
				asm.Mov.Reg32(asm.R1, asm.R0),
				asm.RSh.Imm32(asm.R1, 16),
				asm.And.Imm32(asm.R0, 0xffff),
				asm.Add.Reg32(asm.R0, asm.R1),
			)
		}
		ins = append(ins,
			asm.Xor.Imm32(asm.R0, 0xffff),
			asm.HostTo(asm.BE, asm.R0, asm.Half),
			asm.StoreMem(asm.R7, offCheck, asm.R0, asm.Half),
		)
	}
	return append(ins,
		asm.Mov.Imm(asm.R1, int32(index)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpAborted).WithSymbol("short"),
		asm.Return(),
	)
}

func (g *generator) close() { _ = g.prog.Close() }

// run sends as fast as it goes until ctx ends. It must be called on a thread that is in the sending namespace.
func (g *generator) run(ctx context.Context, cpu int) error {
	runtime.LockOSThread() // never unlocked: the thread is not to be used for anything else
	if err := settle(0, cpu); err != nil {
		return err
	}
	first()
	o := ebpf.RunOptions{Data: g.frame, Repeat: perRun, Flags: liveFrames, BatchSize: framesEach}
	for ctx.Err() == nil {
		if _, err := g.prog.Run(&o); err != nil {
			return fmt.Errorf("sending (live frames need Linux 5.18): %w", err)
		}
	}
	return nil
}
