package dialplan

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"brickhouse/shared/conffile"
)

// Strategies that only queues have.
const (
	LongestIdle Strategy = "longest-idle" // whose last call of a queue ended longest ago
	FewestCalls Strategy = "fewest-calls" // who took the fewest calls of queues
)

// Queue is a number where callers wait until an agent is free.
type Queue struct {
	Number    string         `yaml:"number" doc:"Number of the queue, that phones dial; it comes before the rules. Rules lead to the queue with do: queue."`
	Agents    []string       `yaml:"agents" doc:"Extensions that take the calls."`
	Penalties map[string]int `yaml:"penalties" doc:"Agents that are called only while none with a lower penalty is free. Left out: 0."`
	Login     bool           `yaml:"login" doc:"Agents must log in (features.agent_in). Left out: they are in until they log out."`
	Strategy  string         `yaml:"strategy" oneof:"longest-idle|fewest-calls|in-turn|round-robin|random|all" doc:"Which of the free agents is called: longest-idle, fewest-calls, the first in the list, the one after the last one called, any, or all together."`
	Ring      time.Duration  `yaml:"ring" doc:"How long an agent's phones ring, before another one is called."`
	WrapUp    time.Duration  `yaml:"wrap_up" doc:"How long an agent gets no call after one of the queue's."`
	Misses    int            `yaml:"misses" doc:"An agent who misses so many calls in a row is paused. 0: never."`

	Say      []string      `yaml:"say" doc:"Names of the prompts that callers hear first, to their end."`
	Announce time.Duration `yaml:"announce" doc:"How often callers hear their place, and how long it may take once the queue knows. 0: never."`

	Calls   int           `yaml:"calls" doc:"Callers that may wait."`
	MaxWait time.Duration `yaml:"max_wait" doc:"How long a caller waits at most."`
	Empty   string        `yaml:"empty" oneof:"wait|leave" doc:"What becomes of callers while no agent is logged in: they wait, or leave at once."`
	Then    string        `yaml:"then" doc:"Number that is called when a caller leaves unanswered: an extension, a mailbox, a group, or one outside. Empty: good-bye."`
	Rights  string        `yaml:"rights" doc:"Extension whose rights and caps hold where then leads outside. Empty: then may not lead outside."`
	Prefix  string        `yaml:"prefix" doc:"What agents' phones show before the caller's name, as \"Support: \"."`
}

// SetDefaults sets what a queue is unless the file says otherwise.
func (q *Queue) SetDefaults() {
	q.Strategy, q.Ring, q.WrapUp, q.Misses = string(LongestIdle), 15*time.Second, 10*time.Second, 3
	q.Announce, q.Calls, q.MaxWait, q.Empty = 45*time.Second, 50, 30*time.Minute, EmptyWait
}

// Values of Queue.Empty.
const (
	EmptyWait  = "wait"
	EmptyLeave = "leave"
)

// Bounds of a queue.
const (
	maxAgents  = 200
	maxQueued  = 1000
	maxWaiting = 12 * time.Hour
)

// Validate says what is wrong with a queue.
func (q *Queue) Validate() []conffile.Fault {
	var fs []conffile.Fault
	bad := func(wrong bool, key, problem, remedy string) {
		if wrong {
			fs = append(fs, conffile.Bad(key, problem, remedy))
		}
	}
	bad(!isNumber(q.Number), "number", "is no number", "give the digits that phones dial")
	bad(len(q.Agents) == 0 || len(q.Agents) > maxAgents, "agents", "must be 1 to 200 extensions", "name them")
	for i, m := range q.Agents {
		bad(slices.Index(q.Agents, m) < i, fmt.Sprintf("agents[%d]", i), fmt.Sprintf("%s stands twice", m), "leave one away")
	}
	for _, m := range slices.Sorted(maps.Keys(q.Penalties)) {
		bad(!slices.Contains(q.Agents, m), "penalties", fmt.Sprintf("%s is no agent", m), "name it in agents")
		bad(q.Penalties[m] < 0 || q.Penalties[m] > 100, "penalties", fmt.Sprintf("that of %s is out of range", m), "give 0 to 100")
	}
	bad(q.Ring < time.Second || q.Ring > maxRing, "ring", "is out of range", "give 1s to 10m")
	bad(q.WrapUp < 0 || q.WrapUp > time.Hour, "wrap_up", "is out of range", "give 0s to 1h")
	bad(q.Misses < 0 || q.Misses > 100, "misses", "is out of range", "give 0 to 100")
	bad(len(q.Say) > maxSay, "say", "has too many prompts", "give 16 at most")
	bad(q.Announce != 0 && (q.Announce < 10*time.Second || q.Announce > time.Hour), "announce", "is out of range", "give 10s to 1h, or 0")
	bad(q.Calls < 1 || q.Calls > maxQueued, "calls", "is out of range", "give 1 to 1000")
	bad(q.MaxWait < time.Second || q.MaxWait > maxWaiting, "max_wait", "is out of range", "give 1s to 12h")
	bad(q.Then != "" && q.Then == q.Number, "then", "is the queue itself", "name another number")
	bad(len(q.Prefix) > 32, "prefix", "is too long", "give 32 characters at most")
	return fs
}

// compileQueues takes over the queues.
func (p *Plan) compileQueues(queues map[string]Queue) error {
	p.queues = queues
	for _, name := range slices.Sorted(maps.Keys(queues)) {
		q := queues[name]
		if fs := q.Validate(); len(fs) > 0 {
			return fmt.Errorf("queues.%s.%s: %s", name, fs[0].Key, fs[0].Problem)
		}
		if err := p.addPlace(ToQueue, name, q.Number); err != nil {
			return err
		}
	}
	return nil
}

// Queue returns the queue of that name.
func (p *Plan) Queue(name string) (Queue, bool) {
	q, ok := p.queues[name]
	return q, ok
}

// Queues returns the names of all queues, sorted.
func (p *Plan) Queues() []string { return slices.Sorted(maps.Keys(p.queues)) }
