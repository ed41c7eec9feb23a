package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"brickhouse/pbx/internal/dialplan"
)

// office is queues with agents that need no exchange.
type office struct {
	*Queues
	t *testing.T

	mu    sync.Mutex
	confs map[string]dialplan.Queue
	state map[string]Presence
	busy  map[string]bool
	log   []string // what was asked for: pauses, calls called off
}

// inOffice runs a test with a clock of its own. Each queue is its agents, separated by blanks.
func inOffice(t *testing.T, queues map[string]string, change func(*dialplan.Queue), do func(o *office)) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{t: t, confs: map[string]dialplan.Queue{}, state: map[string]Presence{}, busy: map[string]bool{}}
		for name, agents := range queues {
			q := dialplan.Queue{Number: "17" + name, Agents: strings.Fields(agents)}
			q.SetDefaults()
			if change != nil {
				change(&q)
			}
			o.confs[name] = q
		}
		locked := func(do func()) { o.mu.Lock(); defer o.mu.Unlock(); do() }
		o.Queues = New(Options{
			Queue: func(name string) (q dialplan.Queue, ok bool) { locked(func() { q, ok = o.confs[name] }); return q, ok },
			Presence: func(agent string, login bool) (p Presence) {
				locked(func() { p = o.state[agent] })
				if p == "" {
					p = map[bool]Presence{true: Out, false: In}[login]
				}
				return p
			},
			Free:    func(agent string) (free bool) { locked(func() { free = !o.busy[agent] }); return free },
			Pause:   func(agent string) { o.set(func() { o.state[agent] = Paused; o.log = append(o.log, "pause "+agent) }) },
			CallOff: func(call string) { locked(func() { o.log = append(o.log, "call off "+call) }) },
			Now:     time.Now,
		})
		do(o)
		for _, l := range o.lines {
			for len(l.waiting) > 0 {
				l.waiting[0].Leave()
			}
		}
		time.Sleep(2 * tick) // until dispatch has ended
	})
}

func (o *office) set(do func()) {
	o.mu.Lock()
	do()
	o.mu.Unlock()
	o.Kick()
	time.Sleep(time.Millisecond)
}

// asked wants something to have been asked for, and nothing else.
func (o *office) asked(want string) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if got := strings.Join(o.log, ", "); got != want {
		o.t.Errorf("asked for %q, want %q", got, want)
	}
}

// enter puts a caller into a queue.
func (o *office) enter(queue, caller string) *Place {
	o.t.Helper()
	p, err := o.Enter(queue, "call-"+caller, caller, time.Now())
	if err != nil {
		o.t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
	return p
}

// offered wants agents to be called for a caller now; "": none.
func (o *office) offered(p *Place, want string) {
	o.t.Helper()
	synctest.Wait()
	got := ""
	select {
	case agents := <-p.Offers:
		got = strings.Join(agents, " ")
	default:
	}
	if got != want {
		o.t.Fatalf("for %s are called %q, want %q", p.caller, got, want)
	}
}

func TestOneAfterTheOther(t *testing.T) {
	inOffice(t, map[string]string{"a": "1"}, nil, func(o *office) {
		first, second := o.enter("a", "x"), o.enter("a", "y")
		o.offered(first, "1")
		o.offered(second, "")
		if n, wait := second.Ahead(); n != 2 || wait != 0 {
			t.Errorf("place %d, %v", n, wait)
		}
		time.Sleep(3 * time.Second)
		first.Taken("1")
		time.Sleep(time.Minute)
		o.offered(second, "")
		if n, _ := second.Ahead(); n != 1 {
			t.Errorf("place %d", n)
		}
		first.Done()
		time.Sleep(9 * time.Second) // it wraps up
		o.offered(second, "")
		if _, wait := second.Ahead(); wait != 70*time.Second {
			t.Errorf("it may take %v", wait)
		}
		time.Sleep(2 * time.Second)
		o.offered(second, "1")
		if s, _ := o.Status("a"); s.Answered != 1 || s.MeanWait.Round(time.Second) != 3*time.Second || len(s.Waiting) != 1 || s.Agents[0].State != "called" || s.Agents[0].Took != 1 {
			t.Errorf("%+v", s)
		}
		second.Leave()
		if s, _ := o.Status("a"); s.Abandoned != 1 || len(s.Waiting) != 0 || s.Agents[0].State != "free" {
			t.Errorf("%+v", s)
		}
	})
}

func TestMisses(t *testing.T) {
	inOffice(t, map[string]string{"a": "1 2"}, func(q *dialplan.Queue) { q.Strategy, q.Misses = "in-turn", 2 }, func(o *office) {
		p := o.enter("a", "x")
		for _, want := range []string{"1", "2"} {
			o.offered(p, want)
			time.Sleep(15 * time.Second)
			p.Missed(true)
			time.Sleep(time.Millisecond)
		}
		o.offered(p, "1") // its time has come again
		p.Missed(false)   // it did not ring: no miss
		time.Sleep(6 * time.Second)
		o.offered(p, "1")
		p.Missed(true) // the second in a row
		time.Sleep(6 * time.Second)
		o.asked("pause 1")
		o.offered(p, "2")
		p.Taken("2")
		p.Missed(true) // it hung up before they could talk: the caller waits on, at its old place
		o.offered(p, "")
		if n, _ := p.Ahead(); n != 1 {
			t.Errorf("place %d", n)
		}
		if s, _ := o.Status("a"); s.Answered != 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(6 * time.Second)
		o.offered(p, "2")
		p.Done() // nothing was taken
	})
}

func TestStrategies(t *testing.T) {
	for strategy, want := range map[string]string{
		"in-turn": "1 1 1 1", "round-robin": "1 2 3 1", "longest-idle": "1 2 3 1", "fewest-calls": "1 2 3 1",
	} {
		inOffice(t, map[string]string{"a": "1 2 3"}, func(q *dialplan.Queue) { q.Strategy, q.WrapUp = strategy, 0 }, func(o *office) {
			var got []string
			for i := range 4 {
				p := o.enter("a", fmt.Sprint(i))
				synctest.Wait()
				agent := (<-p.Offers)[0]
				got = append(got, agent)
				p.Taken(agent)
				time.Sleep(time.Second)
				p.Done()
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s: %v", strategy, got)
			}
		})
	}
	inOffice(t, map[string]string{"a": "1 2 3"}, func(q *dialplan.Queue) { q.Strategy = "all" }, func(o *office) {
		o.set(func() { o.busy["2"] = true })
		p, other := o.enter("a", "x"), o.enter("a", "y")
		o.offered(p, "1 3")
		o.offered(other, "")
		p.Taken("3")
		time.Sleep(time.Second)
		o.offered(other, "1") // who was called in vain is free
	})
	inOffice(t, map[string]string{"a": "1 2 3"}, func(q *dialplan.Queue) { q.Strategy = "random" }, func(o *office) {
		seen := map[string]bool{}
		for i := range 100 {
			p := o.enter("a", fmt.Sprint(i))
			synctest.Wait()
			seen[(<-p.Offers)[0]] = true
			p.Leave()
		}
		if len(seen) != 3 {
			t.Errorf("drawn: %v", seen)
		}
	})
}

func TestPenaltiesAndPresence(t *testing.T) {
	inOffice(t, map[string]string{"a": "1 2 3"}, func(q *dialplan.Queue) { q.Penalties, q.Login = map[string]int{"1": 5}, true }, func(o *office) {
		p := o.enter("a", "x")
		o.offered(p, "") // nobody is in
		o.set(func() { o.state["1"] = In })
		o.offered(p, "1") // it alone is
		o.set(func() { o.state["1"] = Paused })
		time.Sleep(tick)
		o.asked("call off call-x") // it has left while its phone rings
		p.Missed(true)
		o.set(func() { o.state["1"], o.state["2"], o.state["3"] = In, In, In })
		time.Sleep(10 * time.Second)
		o.offered(p, "2") // and not 1, with its penalty
		y := o.enter("a", "y")
		o.offered(y, "3")
		z := o.enter("a", "z")
		o.offered(z, "1")
	})
}

func TestEnter(t *testing.T) {
	inOffice(t, map[string]string{"a": "1"}, func(q *dialplan.Queue) { q.Login, q.Empty, q.Calls = true, "leave", 2 }, func(o *office) {
		enter := func(name string, want error) {
			t.Helper()
			if _, err := o.Enter(name, "c", "x", time.Now()); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		enter("b", ErrGone)
		enter("a", ErrEmpty)
		o.set(func() { o.state["1"] = Paused }) // in, though it takes none now
		enter("a", nil)
		enter("a", nil)
		enter("a", ErrFull)
	})
}

// Over all queues an agent is called for one caller at a time, for the one who has waited longest.
func TestAgentOfTwoQueues(t *testing.T) {
	inOffice(t, map[string]string{"a": "1", "b": "1 2"}, nil, func(o *office) {
		o.set(func() { o.busy["1"], o.busy["2"] = true, true })
		b, a := o.enter("b", "x"), o.enter("a", "y")
		o.set(func() { o.busy["1"] = false })
		o.offered(b, "1")
		o.offered(a, "")
		o.set(func() { o.busy["2"] = false })
		o.offered(a, "")
		b.Leave()
		o.offered(a, "1")
		o.set(func() { delete(o.confs, "a") }) // a reload without the queue
		a.Missed(true)
		if _, ok := o.Status("a"); ok {
			t.Error("the queue is there still")
		}
		o.offered(a, "")
	})
}

// Whatever callers and agents do, no agent is called for two callers, and nobody is lost or served twice.
func TestRandomDays(t *testing.T) {
	for seed := range uint64(20) {
		inOffice(t, map[string]string{"a": "1 2 3", "b": "3 4"}, func(q *dialplan.Queue) { q.Strategy = "longest-idle" }, func(o *office) {
			r := rand.New(rand.NewPCG(seed, 1))
			var callers sync.WaitGroup
			var mu sync.Mutex
			with := map[string]string{} // caller, by agent
			hold := func(agents []string, caller string) {
				mu.Lock()
				defer mu.Unlock()
				for _, a := range agents {
					if other := with[a]; other != "" {
						t.Errorf("%s is called for %s and %s", a, other, caller)
					}
					with[a] = caller
				}
			}
			release := func(agents []string) {
				mu.Lock()
				defer mu.Unlock()
				for _, a := range agents {
					delete(with, a)
				}
			}
			for i := range 30 {
				caller, dice := fmt.Sprint("c", i), rand.New(rand.NewPCG(seed, uint64(i)+2))
				queue := []string{"a", "b"}[i%2]
				time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
				p, err := o.Enter(queue, caller, caller, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				callers.Go(func() {
					for {
						select {
						case agents := <-p.Offers:
							hold(agents, caller)
							time.Sleep(time.Duration(dice.IntN(4000)) * time.Millisecond)
							if dice.IntN(2) == 0 {
								release(agents)
								p.Missed(dice.IntN(2) == 0)
								continue
							}
							p.Taken(agents[0])
							time.Sleep(time.Duration(dice.IntN(20000)) * time.Millisecond)
							release(agents)
							p.Done()
							p.Leave()
							return
						case <-time.After(40 * time.Second):
							p.Leave()
							return
						}
					}
				})
			}
			callers.Wait()
			sum := 0
			for _, name := range []string{"a", "b"} {
				s, _ := o.Status(name)
				sum += s.Answered + s.Abandoned
				if len(s.Waiting) > 0 {
					t.Errorf("%s: %+v", name, s)
				}
			}
			if sum != 30 {
				t.Errorf("seed %d: %d callers of 30 are accounted for", seed, sum)
			}
		})
	}
}
