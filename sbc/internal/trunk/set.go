package trunk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"brickhouse/sbc/internal/route"
	"brickhouse/shared/pki"
)

// Options are what trunks need from outside.
type Options struct {
	File    string // where it is kept which trunks are disabled
	Locator interface {
		Locate(ctx context.Context, g route.Gateway) ([]route.Hop, error)
	}
	// Probe asks a hop with OPTIONS and waits for its answer as long as ctx lasts.
	Probe  func(ctx context.Context, t *Trunk, h route.Hop) Result
	Now    func() time.Time
	Random func(n int) int
	Log    *slog.Logger
}

// Set is all trunks. All methods may be called from any goroutine.
type Set struct {
	opt Options

	mu       sync.Mutex
	trunks   map[string]*Trunk
	disabled map[string]bool
	running  context.Context // nil: not yet
	stop     context.CancelFunc
	watchers sync.WaitGroup
}

// ErrNoTrunk says that the configuration has no trunk of that name.
var ErrNoTrunk = errors.New("no such trunk")

// Open reads which trunks are disabled. The Set has no trunks until it is configured.
func Open(opt Options) (*Set, error) {
	s := &Set{opt: opt, trunks: map[string]*Trunk{}, disabled: map[string]bool{}}
	data, err := os.ReadFile(opt.File)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err != nil {
		return nil, fmt.Errorf("reading which trunks are disabled: %w; remove %s, and none is", err, opt.File)
	}
	for _, name := range k.Disabled {
		s.disabled[name] = true
	}
	return s, nil
}

// kept is what outlives a restart.
type kept struct {
	Disabled []string `json:"disabled"`
}

// Configure makes list the trunks. What is known of gateways that stay is kept.
func (s *Set) Configure(list []Config) error {
	next := map[string]*Trunk{}
	for _, c := range list {
		t, err := newTrunk(c, &s.opt)
		if err != nil {
			return err
		}
		next[c.Name] = t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, t := range next {
		t.disabled = s.disabled[name]
		if old := s.trunks[name]; old != nil {
			t.inherit(old)
		}
	}
	s.trunks = next
	s.watchLocked()
	return nil
}

// Run probes gateways until ctx ends.
func (s *Set) Run(ctx context.Context) {
	s.mu.Lock()
	s.running = ctx
	s.watchLocked()
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.running = nil
	s.watchLocked()
	s.mu.Unlock()
	s.watchers.Wait()
}

// watchLocked ends the watchers of the trunks before, and starts those of the trunks now.
func (s *Set) watchLocked() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
	if s.running == nil || s.running.Err() != nil {
		return
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(s.running)
	for _, t := range s.trunks {
		for _, g := range t.gateways {
			s.watchers.Go(func() { t.watch(ctx, g) })
		}
	}
}

// Trunk returns the trunk of that name.
func (s *Set) Trunk(name string) (*Trunk, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.trunks[name]
	return t, ok
}

// SetEnabled lets a trunk be used, or not, from now on and after a restart.
func (s *Set) SetEnabled(name string, on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.trunks[name]
	if !ok {
		return ErrNoTrunk
	}
	next := kept{Disabled: []string{}}
	for n := range s.trunks { // those that are gone are forgotten
		if n != name && s.disabled[n] || n == name && !on {
			next.Disabled = append(next.Disabled, n)
		}
	}
	slices.Sort(next.Disabled)
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("keeping which trunks are disabled: %w", err)
	}
	if err := pki.WriteFile(s.opt.File, data); err != nil {
		return fmt.Errorf("keeping which trunks are disabled: %w", err)
	}
	s.disabled = map[string]bool{}
	for _, n := range next.Disabled {
		s.disabled[n] = true
	}
	t.mu.Lock()
	t.disabled = !on
	t.mu.Unlock()
	t.log.Info("trunk is switched by a person", "enabled", on)
	return nil
}

// Status is a trunk as commands show it.
type Status struct {
	Name     string          `json:"name"`
	State    State           `json:"state"`
	Gateways []GatewayStatus `json:"gateways"`
}

// GatewayStatus is one gateway of it.
type GatewayStatus struct {
	Address   string      `json:"address"`
	Transport string      `json:"transport"`
	Priority  int         `json:"priority"`
	Weight    int         `json:"weight"`
	State     State       `json:"state"`
	Error     string      `json:"error,omitempty"` // why its name leads nowhere
	Hops      []HopStatus `json:"hops"`
}

// HopStatus is one address of it.
type HopStatus struct {
	Hop     string    `json:"hop"`
	State   State     `json:"state"`
	Since   time.Time `json:"since"`
	Code    int       `json:"code,omitempty"`
	Error   string    `json:"error,omitempty"`
	Checked time.Time `json:"checked,omitzero"`
}

// List describes all trunks, by name.
func (s *Set) List() []Status {
	s.mu.Lock()
	all := make([]*Trunk, 0, len(s.trunks))
	for _, t := range s.trunks {
		all = append(all, t)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *Trunk) int {
		if a.cfg.Name < b.cfg.Name {
			return -1
		}
		return 1
	})
	out := []Status{}
	for _, t := range all {
		out = append(out, t.status())
	}
	return out
}

func (t *Trunk) status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Status{Name: t.cfg.Name, State: Down}
	for _, g := range t.gateways {
		gs := GatewayStatus{
			Address: g.Gateway.String(), Transport: g.Network, Priority: g.Priority, Weight: g.Weight, State: t.stateLocked(g), Error: text(g.lost),
			Hops: []HopStatus{},
		}
		hops := slices.Clone(g.hops)
		slices.SortFunc(hops, compareHops)
		for _, h := range hops {
			if k := t.known[h]; k != nil {
				gs.Hops = append(gs.Hops, HopStatus{Hop: h.String(), State: k.state, Since: k.since, Code: k.last.Code, Error: text(k.last.Err), Checked: k.at})
			}
		}
		if gs.State == Up || gs.State == Unknown && s.State == Down {
			s.State = gs.State
		}
		s.Gateways = append(s.Gateways, gs)
	}
	if t.disabled {
		s.State = Disabled
	}
	return s
}
