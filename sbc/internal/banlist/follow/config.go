package follow

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"time"

	"brickhouse/sbc/internal/banlist"
	"brickhouse/shared/conffile"
)

// Config says which lists to follow.
type Config struct {
	Lists []List `yaml:"lists" doc:"Lists of networks to shut out, or never to ban, from files, URLs and GeoIP databases. None is built in, and nothing is contacted that does not stand here."`
}

// List is one list to follow. It has one of file, url and mmdb.
type List struct {
	Name       string         `yaml:"name" doc:"Name of the list, shown with each address that it covers: letters, digits, - and _."`
	File       string         `yaml:"file" doc:"File to read. Replace it by renaming a new one over it."`
	URL        string         `yaml:"url" doc:"https URL to fetch; http only from this machine itself (127.0.0.1, ::1, localhost)."`
	MMDB       string         `yaml:"mmdb" doc:"GeoIP or ASN database (MMDB) to take the networks of countries or asns from."`
	Countries  []string       `yaml:"countries" doc:"mmdb: countries, as DE. A network without one counts as that of its registered country."`
	ASNs       []uint32       `yaml:"asns" doc:"mmdb: numbers of autonomous systems."`
	Format     banlist.Format `yaml:"format" doc:"auto (the default), plain, csv, drop-json or apiban. With apiban, a url is asked for all its pages: url/ID."`
	Column     string         `yaml:"column" doc:"csv: name of the column in the header line, or its number from 1. Empty: the first that holds an address."`
	Every      time.Duration  `yaml:"every" doc:"How often to look for a change. 0: 1h for a url, 10s for a file, 1m for an mmdb."`
	MaxEntries int            `yaml:"max_entries" doc:"Most entries. A list with more is refused as a whole. 0: 1000000."`
	MaxBytes   conffile.Size  `yaml:"max_bytes" doc:"Most bytes. 0: 64MiB, and 256MiB for an mmdb."`
	MaxGarbage int            `yaml:"max_garbage" doc:"Percent of the entries that may be no addresses before the list is refused as a whole. 0: 10."`
	AllowEmpty bool           `yaml:"allow_empty" doc:"Take an empty list where there were entries before. Without it that is taken for a mistake, and the entries stay."`
	Monitor    bool           `yaml:"monitor" doc:"Count and report what the list would drop, but drop nothing for it."`
	Allow      bool           `yaml:"allow" doc:"What is on the list is never banned, instead of always."`
	Timeout    time.Duration  `yaml:"timeout" doc:"url: most time for one fetch, all in all. 0: 30s."`
	CA         string         `yaml:"ca" doc:"url: PEM file with the authorities to trust, instead of the system's."`
	TokenFile  string         `yaml:"token_file" doc:"url: file with a bearer token to send along, mode 0600."`
}

// Bounds of what the configuration may say.
const (
	maxLists     = 24
	maxURL       = 2048
	maxCountries = 300
	maxASNs      = 1000
	maxPercent   = 50
	maxEvery     = 7 * 24 * time.Hour
	minEveryURL  = time.Minute
	minEveryFile = time.Second
	maxTimeout   = 10 * time.Minute
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Key     string // path of the key below the configuration's own, as "lists[0].url"
	Problem string // what is wrong, and what would be right
}

// Error is "key: problem".
func (f Fault) Error() string { return f.Key + ": " + f.Problem }

var (
	listName    = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,31}$`) // it becomes a file's name
	countryCode = regexp.MustCompile(`^[A-Z]{2}$`)
)

// Check returns everything that is wrong with c; none means that c is usable.
func (c Config) Check() []Fault {
	var fs []Fault
	if len(c.Lists) > maxLists {
		fs = append(fs, Fault{"lists", fmt.Sprintf("%d lists, at most %d", len(c.Lists), maxLists)})
	}
	names := map[string]bool{}
	for i, l := range c.Lists {
		key := fmt.Sprintf("lists[%d]", i)
		fs = append(fs, l.check(key)...)
		if names[l.Name] {
			fs = append(fs, Fault{key + ".name", fmt.Sprintf("%q stands twice", l.Name)})
		}
		names[l.Name] = true
	}
	return fs
}

func (l List) check(key string) []Fault {
	var fs []Fault
	bad := func(ok bool, sub, format string, a ...any) {
		if !ok {
			fs = append(fs, Fault{key + "." + sub, fmt.Sprintf(format, a...)})
		}
	}
	bad(listName.MatchString(l.Name), "name", "%.40q: letters, digits, - and _ only, at most 32", l.Name)
	sources := 0
	for _, s := range []string{l.File, l.URL, l.MMDB} {
		if s != "" {
			sources++
		}
	}
	bad(sources == 1, "file", "needs one of file, url and mmdb")
	if l.URL != "" {
		problem := checkURL(l.URL)
		bad(problem == "", "url", "%s", problem)
	}
	least := minEveryFile
	if l.URL != "" {
		least = minEveryURL
	}
	bad(l.Every == 0 || l.Every >= least && l.Every <= maxEvery, "every", "%s is not between %s and %s", l.Every, least, maxEvery)
	bad(l.MaxEntries >= 0 && l.MaxEntries <= banlist.MostEntries, "max_entries", "%d is not between 1 and %d", l.MaxEntries, banlist.MostEntries)
	bad(l.MaxBytes >= 0 && l.MaxBytes <= banlist.MostBytes, "max_bytes", "%s is not between 1 and %s", l.MaxBytes, conffile.Size(banlist.MostBytes))
	bad(l.MaxGarbage >= 0 && l.MaxGarbage <= maxPercent, "max_garbage", "%d is not between 1 and %d percent", l.MaxGarbage, maxPercent)
	bad(!l.Allow || !l.Monitor, "monitor", "a list with allow drops nothing anyway")
	return slices.Concat(fs, l.checkFormat(key), l.checkGeo(key), l.checkFetch(key))
}

func (l List) checkFormat(key string) []Fault {
	var fs []Fault
	if l.Format != "" && !slices.Contains(banlist.Formats(), l.Format) {
		fs = append(fs, Fault{key + ".format", fmt.Sprintf("%.40q is none of auto, plain, csv, drop-json, apiban", string(l.Format))})
	}
	if l.MMDB != "" && l.Format != "" {
		fs = append(fs, Fault{key + ".format", "an mmdb has no format"})
	}
	if l.Column != "" && l.Format != banlist.CSV {
		fs = append(fs, Fault{key + ".column", "is for format csv only"})
	}
	return fs
}

func (l List) checkGeo(key string) []Fault {
	var fs []Fault
	bad := func(ok bool, sub, format string, a ...any) {
		if !ok {
			fs = append(fs, Fault{key + sub, fmt.Sprintf(format, a...)})
		}
	}
	rules := len(l.Countries) + len(l.ASNs)
	bad(l.MMDB == "" || rules > 0, ".countries", "an mmdb needs countries or asns")
	bad(l.MMDB != "" || rules == 0, ".mmdb", "countries and asns need an mmdb")
	bad(len(l.Countries) <= maxCountries, ".countries", "%d countries, at most %d", len(l.Countries), maxCountries)
	bad(len(l.ASNs) <= maxASNs, ".asns", "%d autonomous systems, at most %d", len(l.ASNs), maxASNs)
	for i, c := range l.Countries {
		bad(countryCode.MatchString(c), fmt.Sprintf(".countries[%d]", i), "%.20q is no country code; write it as DE", c)
	}
	for i, n := range l.ASNs {
		bad(n > 0, fmt.Sprintf(".asns[%d]", i), "0 is no autonomous system")
	}
	return fs
}

func (l List) checkFetch(key string) []Fault {
	var fs []Fault
	bad := func(ok bool, sub, format string, a ...any) {
		if !ok {
			fs = append(fs, Fault{key + sub, fmt.Sprintf(format, a...)})
		}
	}
	bad(l.Timeout == 0 || l.Timeout >= time.Second && l.Timeout <= maxTimeout, ".timeout", "%s is not between 1s and %s", l.Timeout, maxTimeout)
	if l.URL == "" {
		bad(l.Timeout == 0, ".timeout", "is for a url only")
		bad(l.CA == "", ".ca", "is for a url only")
		bad(l.TokenFile == "", ".token_file", "is for a url only")
	}
	return fs
}

// checkURL tells what is wrong with a URL. It repeats nothing of it: it may hold a key.
func checkURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case len(text) > maxURL:
		return fmt.Sprintf("is longer than %d bytes", maxURL)
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return "is no URL; write it as https://example.com/list.txt"
	case u.User != nil:
		return "has a user; put a token into token_file"
	case u.Fragment != "":
		return "has a # part; leave it out"
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return ""
	case u.Scheme == "http":
		return "is http; only https is safe from being changed on its way"
	}
	return "is not https"
}

func loopback(host string) bool {
	if host == "localhost" {
		return true // the dial checks where it leads
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// filled is l with the defaults where it says nothing.
func (l List) filled() List {
	every, most := 10*time.Second, conffile.Size(banlist.DefaultBytes)
	switch {
	case l.URL != "":
		every = time.Hour
	case l.MMDB != "":
		every, most = time.Minute, 256*conffile.MiB
	}
	if l.Every == 0 {
		l.Every = every
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = most
	}
	if l.MaxEntries == 0 {
		l.MaxEntries = banlist.DefaultEntries
	}
	if l.Timeout == 0 {
		l.Timeout = 30 * time.Second
	}
	return l
}

func (l List) options() banlist.Options {
	return banlist.Options{Format: l.Format, Column: l.Column, MaxEntries: l.MaxEntries, MaxBytes: int64(l.MaxBytes), MaxGarbage: l.MaxGarbage}
}
