// Package geo makes lists of networks from a database in MaxMind's MMDB format: those of given countries or autonomous systems.
// The operator supplies the database; nothing is downloaded. GeoLite2 and GeoIP2 (Country, City, ASN, ISP) fit, and whatever
// has the same keys: country.iso_code, registered_country.iso_code, autonomous_system_number.
//
// The database is read into memory as a whole and not mapped: a mapped file that somebody cuts short would end the program.
package geo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/oschwald/maxminddb-golang/v2"

	"brickhouse/sbc/internal/banlist"
)

// Rule says which networks to collect: those in any of the countries and those of any of the autonomous systems.
type Rule struct {
	Countries []string // ISO 3166-1 alpha-2, upper case
	ASNs      []uint32
}

// Errors of Collect, beside those of banlist.
var (
	ErrDatabase = errors.New("is no sound MMDB database")
	ErrNoData   = errors.New("has no such data")
)

// The widest networks that are cut into such as a list may hold. A wider one with a country is no real one.
const (
	leastBits4 = 4
	leastBits6 = 8
)

// Collect walks all networks of the database db and returns those that the rule names, joined where they make up a wider one. A
// network without a country counts as that of its registered country. Errors are ErrDatabase, ErrNoData if no record has what the
// rule asks for, banlist.ErrTooMany for more than maxEntries, and ctx's.
func Collect(ctx context.Context, db []byte, rule Rule, maxEntries int) ([]netip.Prefix, banlist.Report, error) {
	r, err := maxminddb.OpenBytes(db)
	if err != nil {
		return nil, banlist.Report{}, fmt.Errorf("%w: %s", ErrDatabase, quote(err.Error()))
	}
	defer r.Close()
	w := walk{rule: rule, seen: map[uintptr]bool{}, c: banlist.NewCollector(maxEntries)}
	if err := w.networks(ctx, r); err != nil {
		return nil, banlist.Report{}, err
	}
	if len(rule.Countries) > 0 && !w.countries {
		return nil, banlist.Report{}, fmt.Errorf("%w: no countries in a database of type %s", ErrNoData, quote(r.Metadata.DatabaseType))
	}
	if len(rule.ASNs) > 0 && !w.asns {
		return nil, banlist.Report{}, fmt.Errorf("%w: no autonomous systems in a database of type %s", ErrNoData, quote(r.Metadata.DatabaseType))
	}
	list, rep, err := w.c.Finish()
	if err == nil {
		list = banlist.Join(list)
		rep.Entries = len(list)
	}
	return list, rep, err
}

// walk is one way through a database.
type walk struct {
	rule            Rule
	c               *banlist.Collector
	seen            map[uintptr]bool // record → the rule names it; many networks share a record
	countries, asns bool             // some record has them
}

// Parts of IPv6 at which databases show their IPv4 networks once more.
func aliased(p netip.Prefix) bool {
	if !p.Addr().Is6() {
		return false
	}
	a := p.Addr().As16()
	switch {
	case p.Addr().Is4In6():
		return true
	case a[0] == 0x20 && a[1] == 0x02: // 6to4
		return true
	}
	return a[0] == 0x20 && a[1] == 0x01 && a[2] == 0 && a[3] == 0 // Teredo
}

// copies is how often a database may show its IPv4 networks: once, and at each of the aliases.
const copies = 4

// networks looks at each leaf of the tree. A sound tree has one leaf more than nodes; one whose branches run together could
// have 2^127, so empty leaves and aliases are walked, too, and the leaves are counted.
func (w *walk) networks(ctx context.Context, r *maxminddb.Reader) error {
	left := (uint64(r.Metadata.NodeCount) + 1) * copies
	for res := range r.Networks(maxminddb.IncludeNetworksWithoutData(), maxminddb.IncludeAliasedNetworks()) {
		if left--; left == 0 {
			return fmt.Errorf("%w: its tree has more leaves than nodes", ErrDatabase)
		}
		if left%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := res.Err(); err != nil {
			return fmt.Errorf("%w: %s", ErrDatabase, quote(err.Error()))
		}
		p := res.Prefix()
		if !res.Found() || aliased(p) {
			continue
		}
		named, err := w.named(res)
		if err != nil {
			return err
		}
		if named {
			w.add(p)
		}
		if w.c.Full() {
			return nil // Finish tells
		}
	}
	return nil
}

// record is what we read of a network's data.
type record struct {
	Country struct {
		ISO string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Registered struct {
		ISO string `maxminddb:"iso_code"`
	} `maxminddb:"registered_country"`
	ASN uint32 `maxminddb:"autonomous_system_number"`
}

// named tells whether the rule names the record of res.
func (w *walk) named(res maxminddb.Result) (bool, error) {
	if named, ok := w.seen[res.Offset()]; ok {
		return named, nil
	}
	var rec record
	if err := res.Decode(&rec); err != nil {
		return false, fmt.Errorf("%w: the record of %s: %s", ErrDatabase, res.Prefix(), quote(err.Error()))
	}
	country := cmp.Or(rec.Country.ISO, rec.Registered.ISO)
	w.countries = w.countries || country != ""
	w.asns = w.asns || rec.ASN != 0
	named := country != "" && slices.Contains(w.rule.Countries, country) || rec.ASN != 0 && slices.Contains(w.rule.ASNs, rec.ASN)
	w.seen[res.Offset()] = named
	return named, nil
}

// add takes p, in parts if it is wider than a list may hold.
func (w *walk) add(p netip.Prefix) {
	most, least := banlist.MinBits6, leastBits6
	if p.Addr().Is4() {
		most, least = banlist.MinBits4, leastBits4
	}
	if p.Bits() >= most || p.Bits() < least {
		w.c.Add(p) // which refuses what is too wide
		return
	}
	lower := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	a := p.Addr().AsSlice()
	a[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	upper, _ := netip.AddrFromSlice(a) // as long as it was
	w.add(lower)
	w.add(netip.PrefixFrom(upper, p.Bits()+1))
}

// quote is text of a database, or of an error that may hold some, fit to be shown.
func quote(s string) string {
	const most = 100 // bytes
	return strconv.QuoteToASCII(s[:min(len(s), most)])
}
