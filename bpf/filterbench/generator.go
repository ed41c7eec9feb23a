package filterbench

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// generator is a loaded generator of one kind of traffic, with the programs it can call.
type generator struct {
	objs  generatorObjects
	frame []byte
}

// newGenerator loads a generator for programs that take frames in several buffers, or for those that don't: the kernel lets neither
// kind call the other.
func newGenerator(t Traffic, frags bool) (*generator, error) {
	frame, err := t.Frame()
	if err != nil {
		return nil, err
	}
	spec, err := loadGenerator()
	if err != nil {
		return nil, fmt.Errorf("reading the generator: %w", err)
	}
	set := map[string]uint32{
		"version": uint32(t.Version), "ip_at": uint32(t.ipAt()),
		"first": uint32(t.Sources.first), "count": uint32(t.Sources.count),
		"ports": uint32(t.Ports), "port": uint32(t.Port),
	}
	if t.Sources.networks {
		set["networks"] = 1
	}
	for name, v := range set {
		if err := spec.Variables[name].Set(v); err != nil {
			return nil, fmt.Errorf("setting the generator's %s: %w", name, err)
		}
	}
	if !frags {
		for _, p := range spec.Programs {
			p.Flags &^= unix.BPF_F_XDP_HAS_FRAGS
		}
	}
	g := &generator{frame: frame}
	if err := spec.LoadAndAssign(&g.objs, nil); err != nil {
		return nil, fmt.Errorf("loading the generator: %w", err)
	}
	return g, nil
}

// generatorFor loads the generator that can call p.
func generatorFor(t Traffic, p *ebpf.Program) (*generator, error) {
	var errs []error
	for _, frags := range []bool{true, false} {
		g, err := newGenerator(t, frags)
		if err != nil {
			return nil, err
		}
		if err = g.aim(p); err == nil {
			return g, nil
		}
		errs = append(errs, err, g.Close())
	}
	return nil, errors.Join(errs...)
}

// aim has p called from now on.
func (g *generator) aim(p *ebpf.Program) error {
	if err := g.objs.Subject.Put(uint32(0), p); err != nil {
		return fmt.Errorf("calling %s from the generator: %w", p, err)
	}
	return nil
}

// stepInverse is the inverse of the step of the generator's Weyl sequence: it turns a way on the sequence into a number of steps.
const stepInverse = 0xf1de83e19937733d

// run makes n packets, or more when a signal has the kernel begin anew. It returns what became of the last one, and how many
// there were.
func (g *generator) run(n int) (action uint32, made int, err error) {
	var before, after uint64
	if err := g.objs.State.Get(&before); err != nil {
		return 0, 0, fmt.Errorf("reading the generator's state: %w", err)
	}
	action, err = g.objs.Generate.Run(&ebpf.RunOptions{Data: g.frame, Repeat: uint32(n)})
	if err != nil {
		return 0, 0, fmt.Errorf("running the generator: %w", err)
	}
	if err := g.objs.State.Get(&after); err != nil {
		return 0, 0, fmt.Errorf("reading the generator's state: %w", err)
	}
	return action, int((after - before) * stepInverse), nil
}

func (g *generator) Close() error { return g.objs.Close() }
