package filterbench

// Row is one kind of packet against one load.
type Row struct {
	Name    string
	Traffic Traffic
	// Goals: 0, if there is none.
	Goal     float64 // at most so many times drop
	Baseline float64 // at least so many times cheaper than the baseline
	// Over names the row that this one has one feature more than; then Goal is for the difference.
	Over string
}

// alone tells that a row is about what the baseline doesn't do.
func (r Row) alone() bool { return r.Over != "" || r.Traffic.FirstOnly && r.Baseline == 0 }

// Stage is a load with the rows that are measured against it.
type Stage struct {
	Bans     int // hosts and sites, each
	Networks int // of each family
	Set      func(*Load)
	Rows     []Row
}

const (
	manyNetworks = 10_000
	million      = 1_000_000
	mediaRow     = "media, any port open"
	strangerRow  = "stranger passes, 10k sources"
)

// Stages are the rows of the table.
func Stages(e Effort) []Stage {
	networks := manyNetworks / e.Shrink
	return []Stage{
		e.stage(0, nil, []Row{
			network(networks), {Name: strangerRow, Traffic: ipv4(Legit(10_000), Pass)},
		}),
		e.stage(1000, nil, []Row{e.host(1000, 5), network(networks)}),
		e.stage(100_000, nil, []Row{e.host(100_000, 6.5), network(networks)}),
		e.stage(million, nil, e.atMillion(networks)),
		e.stage(million, func(l *Load) { l.Limits = LimitsTight }, e.overLimits()),
		e.stage(million, func(l *Load) { l.Plausibility = true }, []Row{
			{Name: "plausibility, on top", Traffic: ipv4(Legit(10_000), Pass), Goal: 1.5, Over: strangerRow},
			{Name: "no SIP, to the SIP port", Traffic: notSIP()},
		}),
		e.stage(million, openMedia, []Row{
			{Name: "pinholes, on top", Traffic: media(FirstMediaPort, Pass), Goal: 1.5, Over: mediaRow},
			{Name: "media, port closed", Traffic: media(FirstMediaPort+MediaPorts/2, Drop)},
		}),
		e.stage(4*million, nil, []Row{e.host(4*million, 22), e.host6(4 * million), network(networks)}),
	}
}

func (e Effort) stage(bans int, set func(*Load), rows []Row) Stage {
	return Stage{Bans: bans / e.Shrink, Networks: manyNetworks / e.Shrink, Set: set, Rows: rows}
}

func (e Effort) atMillion(networks int) []Row {
	host := e.host(million, 9.5)
	host.Baseline = 6
	tagged := e.host(million, 0)
	tagged.Name, tagged.Traffic.Tags = tagged.Name+", QinQ", 2
	legit := ipv4(Legit(10_000), Pass)
	legitTagged := legit
	legitTagged.Tags = 2
	return []Row{
		{Name: strangerRow, Traffic: legit, Goal: 4, Baseline: 12},
		{Name: strangerRow + ", QinQ", Traffic: legitTagged},
		{Name: strangerRow + ", IPv6", Traffic: ipv6(Legit(10_000), Pass), Goal: 5.5},
		{Name: "stranger passes, 500k sources", Traffic: ipv4(Legit(500_000), Pass)},
		host, tagged, e.host6(million), network(networks),
		{Name: "banned network, IPv6", Traffic: ipv6(BannedNetworks(networks), Drop)},
		{Name: mediaRow, Traffic: media(FirstMediaPort, Pass)},
	}
}

func ipv4(s Sources, want uint32) Traffic { return Traffic{Version: 4, Sources: s, Want: want} }
func ipv6(s Sources, want uint32) Traffic { return Traffic{Version: 6, Sources: s, Want: want} }

func (e Effort) host(n int, goal float64) Row {
	return Row{Name: "banned host", Traffic: ipv4(Banned(n/e.Shrink), Drop), Goal: goal}
}

func (e Effort) host6(n int) Row {
	return Row{Name: "banned /64, IPv6", Traffic: ipv6(Banned(n/e.Shrink), Drop)}
}

func network(n int) Row {
	return Row{Name: "banned network", Traffic: ipv4(BannedNetworks(n), Drop), Goal: 6}
}

// overLimits are floods that the baseline has no bucket for, and one that it has.
func (e Effort) overLimits() []Row {
	flood4, flood6 := mostly(ipv4(Spoofed(), Drop)), mostly(ipv6(Spoofed(), Drop))
	flood4.FirstOnly, flood6.FirstOnly = true, true
	return []Row{
		{Name: "spoofed flood, limits on", Traffic: flood4, Goal: 8, Baseline: 20},
		{Name: "spoofed flood, limits on, IPv6", Traffic: flood6},
		{Name: "1k sources over their limit", Traffic: mostly(ipv4(Legit(1000/e.Shrink), Drop))},
	}
}

// mostly leaves room for what limits let through.
func mostly(t Traffic) Traffic {
	t.AtLeast = 0.5
	return t
}

// media is RTP to half of the media ports.
func media(port uint16, want uint32) Traffic {
	t := ipv4(Legit(10_000), want)
	t.Port, t.Ports = port, MediaPorts/2
	t.Payload = make([]byte, 172)
	t.Payload[0] = 0x80 // version 2
	t.FirstOnly = want == Drop
	return t
}

func notSIP() Traffic {
	t := ipv4(Legit(10_000), Drop)
	t.Payload = make([]byte, 172)
	t.FirstOnly = true
	return t
}

// openMedia opens the lower half of the media ports.
func openMedia(l *Load) {
	l.Pinholes = true
	for i := range uint16(MediaPorts / 2) {
		l.Open = append(l.Open, FirstMediaPort+i)
	}
}
