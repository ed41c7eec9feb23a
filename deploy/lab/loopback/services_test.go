package loopback

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"brickhouse/shared/siptest"
)

// TestCallServices plays the scripts of testdata/services: what people do with their phones, and what they hear. Those named after a section of
// RFC 5359 are its service, as far as two programs in the middle have a part in it. All have one site, with a carrier. Their words:
//
//	phone NAME PLACE                registers a phone of a new extension: outside, outside-cm, desk, desk-tcp; NAME/2 is a second one of it
//	carrier NAME                    is who answers behind the trunk
//	does PHONE accept|manual|ring   takes calls, waits to be told, or rings and nobody is there
//	does PHONE refuse CODE
//	does PHONE redirect CODE TARGET [RING]
//	call CALL FROM TO [NUMBER]      FROM calls TO, by its extension or by a number, and both are connected
//	refused FROM TO CODE            a call that comes to nothing
//	dial CALL FROM TO [NUMBER]      FROM calls, TO rings
//	answer CALL PHONE
//	cancel CALL PHONE
//	talk CALL                       both hear each other
//	quiet CALL                      neither hears anything
//	hears CALL PHONE HZ
//	hold|resume CALL PHONE
//	refer CALL PHONE TARGET CODE…   PHONE puts the other one through to TARGET; CODE is the answer, the others what it is told of its progress
//	join CALL PHONE OTHER CODE…     PHONE connects the far sides of its two calls
//	replace CALL FROM OLD PHONE     FROM takes over what PHONE has in OLD
//	now CALL A B                    who talk after that: PHONE@CALL is what it had, PHONE alone what rings there now
//	over CALL PHONE                 the phone was hung up on
//	hangup CALL PHONE               and the others of the call see it
//	rang PHONE END                  a call that came to PHONE ended so: refused, cancelled
//	ended CALL PHONE END            PHONE's part in a call did
//	heard CALL PHONE CODE           what the caller was told before the answer
//	shows CALL PHONE HEADER TEXT    the INVITE that PHONE got has it
//	code PHONE HZ CODE [TARGET]     PHONE dials a feature code, hears a tone of HZ, and is hung up on
//	pbx ARGUMENT…                   a command of the exchange; the name of a phone stands for its extension
//	says TEXT ARGUMENT…             what such a command says
//	plan groups|rules YAML          more of the dialplan; @PHONE is its extension
//	record PHONE N FIELD=VALUE…     the n-th call record with it as the caller
func TestCallServices(t *testing.T) {
	t.Parallel()
	s := trunked(t, "udp")
	numbers := new(atomic.Int32)
	numbers.Store(1600)
	plan := &thePlan{rules: s.opt.Dialplan}
	carrier := &theCarrier{Phone: s.gateway(60, siptest.UDP, nil).Phone}
	t.Run("script", func(t *testing.T) {
		words := map[string]func(*testscript.TestScript, bool, []string){}
		for name, w := range vocabulary {
			words[name] = func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) < w.least {
					ts.Fatalf("%s: %d arguments, at least %d", name, len(args), w.least)
				}
				w.do(ts.Value("stage").(*stage), args)
			}
		}
		testscript.Run(t, testscript.Params{
			Dir: "testdata/services",
			Setup: func(env *testscript.Env) error {
				env.Values["stage"] = &stage{site: s.in(env.T().(testing.TB)), numbers: numbers, carrier: carrier, plan: plan,
					cast: map[string]*actor{}, calls: map[string]map[string]*siptest.Call{}}
				return nil
			},
			Cmds: words,
		})
	})
	for _, name := range []string{"sbc", "pbx"} {
		s.awaitMetric(name, "calls", "", 0)
	}
}

// stage is where a script plays.
type stage struct {
	*site
	numbers *atomic.Int32
	carrier *theCarrier
	plan    *thePlan
	cast    map[string]*actor
	calls   map[string]map[string]*siptest.Call // by name and phone
}

// theCarrier is there for one script at a time.
type theCarrier struct {
	*siptest.Phone
	sync.Mutex
}

// thePlan is the dialplan, which all scripts add to.
type thePlan struct {
	sync.Mutex
	groups, rules string
}

type actor struct {
	*siptest.Phone
	number string
}

var vocabulary = map[string]struct {
	least int
	do    func(*stage, []string)
}{
	"phone": {2, (*stage).phoneOf}, "carrier": {1, (*stage).carrierOf}, "does": {2, (*stage).does},
	"call": {3, (*stage).call}, "refused": {3, (*stage).refused}, "dial": {3, (*stage).dial}, "answer": {2, (*stage).answer}, "cancel": {2, (*stage).cancel},
	"talk": {1, (*stage).talk}, "quiet": {1, (*stage).quiet}, "hears": {3, (*stage).hears},
	"hold":   {2, func(s *stage, a []string) { s.must(s.leg(a[0], a[1]).Hold(within(s.t, patience))) }},
	"resume": {2, func(s *stage, a []string) { s.must(s.leg(a[0], a[1]).Resume(within(s.t, patience))) }},
	"refer":  {4, (*stage).refer}, "join": {4, (*stage).join}, "replace": {4, (*stage).replace}, "now": {3, (*stage).now},
	"rang":  {2, func(s *stage, a []string) { s.endedSo(a[0], incoming(s.t, s.actor(a[0]).Phone), a[1]) }},
	"ended": {3, func(s *stage, a []string) { s.endedSo(a[1], s.leg(a[0], a[1]), a[2]) }},
	"heard": {3, (*stage).heard}, "shows": {4, (*stage).shows}, "code": {3, (*stage).code}, "plan": {2, (*stage).extend},
	"pbx":  {1, func(s *stage, a []string) { s.exchange(s.meant(a)...) }},
	"says": {2, func(s *stage, a []string) { s.site.says(s.meant(a[1:]), s.named(a[0])) }},
	"over": {2, func(s *stage, a []string) { gone(s.t, s.leg(a[0], a[1])) }}, "hangup": {2, (*stage).hangup}, "record": {3, (*stage).record},
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) actor(name string) *actor {
	s.t.Helper()
	a := s.cast[name]
	if a == nil {
		s.t.Fatalf("nobody is called %s", name)
	}
	return a
}

func (s *stage) leg(call, phone string) *siptest.Call {
	s.t.Helper()
	c := s.calls[call][phone]
	if c == nil {
		s.t.Fatalf("%s has no part in call %s", phone, call)
	}
	return c
}

// numberOf is what is dialled for somebody.
func (s *stage) numberOf(target string) string {
	if a := s.cast[target]; a != nil {
		return a.number
	}
	return target
}

func (s *stage) phoneOf(args []string) {
	places := map[string]place{"outside": remote, "outside-cm": remoteCM, "desk": insideUDP, "desk-tcp": insideTCP}
	at, ok := places[args[1]]
	if !ok {
		s.t.Fatalf("no place %q", args[1])
	}
	var number string
	if first, _, second := strings.Cut(args[0], "/"); second {
		number = s.actor(first).number
	} else {
		number = fmt.Sprint(s.numbers.Add(1))
		s.extension(number)
	}
	s.cast[args[0]] = &actor{s.register(s.config(at, number)), number}
}

func (s *stage) carrierOf(args []string) {
	s.carrier.Lock()
	s.t.Cleanup(s.carrier.Unlock)
	s.cast[args[0]] = &actor{s.carrier.Phone, "030123456"}
}

func (s *stage) does(args []string) {
	var a siptest.Answer
	number := func(i int) int {
		n, err := strconv.Atoi(args[i])
		s.must(err)
		return n
	}
	switch args[1] {
	case "accept":
	case "manual":
		a = siptest.Manual()
	case "ring":
		a = siptest.RingForever()
	case "refuse":
		a = siptest.RefuseWith(number(2))
	case "redirect":
		var ring time.Duration
		if len(args) > 4 {
			var err error
			ring, err = time.ParseDuration(args[4])
			s.must(err)
		}
		a = siptest.Redirect(ring, number(2), s.numberOf(args[3]))
	default:
		s.t.Fatalf("no phone does %q", args[1])
	}
	s.actor(args[0]).SetAnswer(a)
}

// dialled is the number that a call's words name.
func (s *stage) dialled(args []string) string {
	if len(args) > 3 {
		return s.numberOf(args[3])
	}
	return s.actor(args[2]).number
}

func (s *stage) call(args []string) {
	p := connect(s.t, s.actor(args[1]).Phone, s.actor(args[2]).Phone, s.dialled(args))
	s.calls[args[0]] = map[string]*siptest.Call{args[1]: p.a, args[2]: p.b}
}

func (s *stage) refused(args []string) {
	code, err := strconv.Atoi(args[2])
	s.must(err)
	fails(s.t, s.actor(args[0]).Phone, s.numberOf(args[1]), code)
}

func (s *stage) dial(args []string) {
	c, err := s.actor(args[1]).Invite(within(s.t, patience), s.dialled(args))
	s.must(err)
	in := incoming(s.t, s.actor(args[2]).Phone)
	s.must(in.Ring())
	eventually(s.t, args[1]+" to hear that it rings", func() string {
		if !slices.ContainsFunc(c.Provisional(), func(r siptest.Result) bool { return r.Code == 180 }) {
			return fmt.Sprint(c.Provisional())
		}
		return ""
	})
	s.calls[args[0]] = map[string]*siptest.Call{args[1]: c, args[2]: in}
}

func (s *stage) answer(args []string) {
	s.must(s.leg(args[0], args[1]).Accept())
	for name, c := range s.calls[args[0]] {
		await(s.t, c.Answered(), name+" to be connected")
	}
}

func (s *stage) cancel(args []string) {
	s.must(s.leg(args[0], args[1]).Cancel(within(s.t, patience)))
	for name, c := range s.calls[args[0]] {
		await(s.t, c.Done(), name+" to see the end")
	}
}

// each calls f with each phone of a call and the one on the other side.
func (s *stage) each(call string, f func(name string, c *siptest.Call, other string)) {
	s.t.Helper()
	if len(s.calls[call]) != 2 {
		s.t.Fatalf("call %s has %d sides", call, len(s.calls[call]))
	}
	for name, c := range s.calls[call] {
		for other := range s.calls[call] {
			if other != name {
				f(name, c, other)
			}
		}
	}
}

func (s *stage) talk(args []string) {
	s.each(args[0], func(name string, c *siptest.Call, other string) {
		hears(s.t, s.actor(name).Phone, c, toneOf(s.actor(other).Phone))
	})
}

func (s *stage) quiet(args []string) {
	s.each(args[0], func(name string, c *siptest.Call, _ string) {
		if _, err := c.AwaitSilence(within(s.t, patience)); err != nil {
			s.t.Fatalf("%s: %v", name, err)
		}
	})
}

func (s *stage) hears(args []string) {
	hz, err := strconv.ParseFloat(args[2], 64)
	s.must(err)
	hears(s.t, s.actor(args[1]).Phone, s.leg(args[0], args[1]), hz)
}

// told wants that a REFER was answered so, and that the transferor was told the rest.
func (s *stage) told(c *siptest.Call, r siptest.Result, err error, codes []string) {
	s.t.Helper()
	s.must(err)
	var want []int
	for _, text := range codes {
		n, err := strconv.Atoi(text)
		s.must(err)
		want = append(want, n)
	}
	if r.Code != want[0] {
		s.t.Fatalf("REFER: %s, want %d", r, want[0])
	}
	if len(want) > 1 {
		progress(s.t, c, want[1:]...)
	}
}

func (s *stage) refer(args []string) {
	c := s.leg(args[0], args[1])
	r, err := c.Refer(within(s.t, patience), s.numberOf(args[2]))
	s.told(c, r, err, args[3:])
}

func (s *stage) join(args []string) {
	c := s.leg(args[0], args[1])
	r, err := c.ReferToCall(within(s.t, patience), s.leg(args[2], args[1]))
	s.told(c, r, err, args[3:])
}

func (s *stage) replace(args []string) {
	old := s.leg(args[2], args[3])
	s.each(args[2], func(name string, c *siptest.Call, other string) {
		if name != args[3] {
			return
		}
		taken, err := s.actor(args[1]).Call(within(s.t, patience), s.numberOf(other), siptest.WithHeader("Replaces", old.Replaces()))
		s.must(err)
		s.calls[args[0]] = map[string]*siptest.Call{args[1]: taken, other: s.leg(args[2], other)}
	})
}

func (s *stage) now(args []string) {
	s.calls[args[0]] = map[string]*siptest.Call{}
	for _, who := range args[1:3] {
		name, call, had := strings.Cut(who, "@")
		if had {
			s.calls[args[0]][name] = s.leg(call, name)
			continue
		}
		in := incoming(s.t, s.actor(name).Phone)
		await(s.t, in.Answered(), name+" to be connected")
		s.calls[args[0]][name] = in
	}
}

func (s *stage) endedSo(who string, c *siptest.Call, want string) {
	s.t.Helper()
	await(s.t, c.Done(), who+" to see the end")
	if end := c.Ended(); string(end) != want {
		s.t.Errorf("the call of %s ended %s, want %s", who, end, want)
	}
}

func (s *stage) heard(args []string) {
	code, err := strconv.Atoi(args[2])
	s.must(err)
	c := s.leg(args[0], args[1])
	if !slices.ContainsFunc(c.Provisional(), func(r siptest.Result) bool { return r.Code == code }) {
		s.t.Fatalf("%s was told %v, not %d", args[1], c.Provisional(), code)
	}
}

func (s *stage) shows(args []string) {
	if got, want := s.leg(args[0], args[1]).Request().Header(args[2]), s.named(args[3]); !strings.Contains(got, want) {
		s.t.Fatalf("%s: %q of %s does not have %q", args[2], got, args[1], want)
	}
}

func (s *stage) code(args []string) {
	hz, err := strconv.ParseFloat(args[1], 64)
	s.must(err)
	number := args[2]
	if len(args) > 3 {
		number += s.numberOf(args[3])
	}
	p := s.actor(args[0]).Phone
	c, err := p.Call(within(s.t, patience), number)
	s.must(err)
	hears(s.t, p, c, hz)
	gone(s.t, c)
}

// meant replaces the names of phones.
func (s *stage) meant(args []string) []string {
	var out []string
	for _, a := range args {
		out = append(out, s.numberOf(a))
	}
	return out
}

// named replaces each @PHONE in a text.
func (s *stage) named(text string) string {
	for name, a := range s.cast {
		text = strings.ReplaceAll(text, "@"+name, a.number)
	}
	return text
}

func (s *stage) extend(args []string) {
	p, line := s.plan, "  "+s.named(args[1])+"\n"
	p.Lock()
	defer p.Unlock()
	switch args[0] {
	case "groups":
		p.groups += line
	case "rules":
		p.rules = line + p.rules
	default:
		s.t.Fatalf("no part %q of the dialplan", args[0])
	}
	s.opt.Dialplan = p.rules
	text := s.render(dialplanYAML)
	if p.groups != "" {
		text += "groups:\n" + p.groups
	}
	s.write("dialplan.yaml", text)
	s.exchange("reload")
}

func (s *stage) hangup(args []string) {
	s.must(s.leg(args[0], args[1]).Hangup(within(s.t, patience)))
	s.each(args[0], func(name string, c *siptest.Call, _ string) {
		if name != args[1] {
			await(s.t, c.Done(), name+" to see the end")
		}
	})
}

func (s *stage) record(args []string) {
	n, err := strconv.Atoi(args[1])
	s.must(err)
	r := s.recorded(s.actor(args[0]).number, n)
	for _, pair := range args[2:] {
		field, want, _ := strings.Cut(pair, "=")
		got, ok := map[string]string{
			"callee": r.Callee, "dialled": r.Dialled, "disposition": r.Disposition, "reason": r.Reason, "code": strconv.Itoa(r.Code), "trunk": r.Trunk,
			"direction": r.Direction, "transferor": r.Transferor, "transferee": r.Transferee, "forwarder": r.Forwarder, "forward": r.Forward, "group": r.Group, "causer": r.Causer,
		}[field]
		if !ok {
			s.t.Fatalf("no field %q", field)
		}
		if got != s.numberOf(want) {
			s.t.Errorf("record %s of %s: %s is %q, want %q", args[1], args[0], field, got, s.numberOf(want))
		}
	}
}
