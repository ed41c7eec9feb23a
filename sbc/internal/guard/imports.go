package guard

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"brickhouse/sbc/internal/banlist"
)

// An import is a list that a person handed over once. It stays until it is replaced or dropped, in a file of its own in the guard's
// directory: a line of JSON that says what it is, then one network a line.
const (
	importsDir   = "lists"
	importSuffix = ".list"
)

// importHead is the first line of the file.
type importHead struct {
	V    int       `json:"v"`
	Kind FeedKind  `json:"kind"`
	By   string    `json:"by"`
	At   time.Time `json:"at"`
}

var importName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,31}$`)

// ErrListName tells that a name is no list's.
var ErrListName = errors.New("letters, digits, - and _ only, at most 32")

// ErrListTaken tells that a list of that name comes from the configuration.
var ErrListTaken = errors.New("the configuration has a list of that name")

// Import makes a list of what r holds and puts it into force, in place of an earlier import of that name. It returns when that is so and
// on disk.
func (g *Guard) Import(name string, kind FeedKind, r io.Reader, o banlist.Options, by string) (banlist.Report, error) {
	if !importName.MatchString(name) {
		return banlist.Report{}, fmt.Errorf("list %q: %w", name, ErrListName)
	}
	list, report, err := banlist.Import(r, o)
	if err != nil {
		return report, fmt.Errorf("list %s %w", name, err)
	}
	g.importing.Lock()
	defer g.importing.Unlock()
	head := importHead{V: journalVersion, Kind: kind, By: clean(by, 64), At: g.clock()}
	if err := g.putImport(name, kind, list); err != nil {
		return report, err
	}
	if err := g.writeImport(name, head, list); err != nil {
		return report, fmt.Errorf("list %s is in force, but not on disk: %w", name, err)
	}
	g.log.Info("list is imported", "list", name, "by", head.By, "entries", len(list))
	if err := g.audit(record{Op: opList, List: name, Entries: len(list), At: head.At, By: head.By}); err != nil {
		return report, fmt.Errorf("list %s is in force, but not in the journal: %w", name, err)
	}
	return report, nil
}

// putImport puts an import into force, unless the configuration has a list of that name.
func (g *Guard) putImport(name string, kind FeedKind, list []netip.Prefix) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.feeds[name]; f != nil && !f.imported {
		return fmt.Errorf("list %s: %w", name, ErrListTaken)
	}
	return g.putListLocked(name, feed{kind: kind, imported: true}, list)
}

// DropImport ends an imported list. ErrNoBan: there is none of that name.
func (g *Guard) DropImport(name, by string) error {
	if !importName.MatchString(name) {
		return fmt.Errorf("list %q: %w", name, ErrListName)
	}
	g.importing.Lock()
	defer g.importing.Unlock()
	if err := g.endImport(name); err != nil {
		return err
	}
	if err := errors.Join(os.Remove(g.importPath(name)), syncDir(g.importsDir())); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list %s: %w", name, ErrNoBan)
	} else if err != nil {
		return fmt.Errorf("list %s is in force no longer, but still on disk: %w", name, err)
	}
	g.log.Info("imported list is dropped", "list", name, "by", by)
	return g.audit(record{Op: opList, List: name, At: g.clock(), By: clean(by, 64)})
}

// endImport takes an import out of force; one that could not be read at start was not in force.
func (g *Guard) endImport(name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch f := g.feeds[name]; {
	case g.closed:
		return ErrClosed
	case f != nil && !f.imported:
		return fmt.Errorf("list %s: %w", name, ErrListTaken)
	}
	return g.endListLocked(name)
}

func (g *Guard) audit(r record) error { return g.journal.write(r)() }

func (g *Guard) importsDir() string { return filepath.Join(filepath.Dir(g.journal.path), importsDir) }

func (g *Guard) importPath(name string) string {
	return filepath.Join(g.importsDir(), name+importSuffix)
}

func (g *Guard) writeImport(name string, head importHead, list []netip.Prefix) error {
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(head); err != nil {
		return err
	}
	if err := banlist.Write(&buf, list, banlist.Plain); err != nil {
		return err
	}
	if err := os.MkdirAll(g.importsDir(), 0o700); err != nil {
		return err
	}
	f, err := replaceFile(g.importPath(name), buf.Bytes())
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(g.importsDir()))
}

// syncDir makes durable which files a directory has.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// loadImportsLocked puts the imported lists into force. One that can't be read is told and left out.
func (g *Guard) loadImportsLocked() {
	files, err := os.ReadDir(g.importsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.log.Error("the imported lists are not in force", "error", err)
	}
	for _, file := range files {
		name, ok := strings.CutSuffix(file.Name(), importSuffix)
		if !ok || !importName.MatchString(name) {
			continue
		}
		path := g.importPath(name)
		head, list, err := readImport(path)
		if err == nil {
			err = g.putListLocked(name, feed{kind: head.Kind, imported: true}, list)
		}
		if err != nil {
			g.log.Error("an imported list is not in force", "list", name, "file", path, "error", err)
		}
	}
}

func readImport(path string) (importHead, []netip.Prefix, error) {
	var head importHead
	f, err := os.Open(path)
	if err != nil {
		return head, nil, err
	}
	defer f.Close()
	in := bufio.NewReader(io.LimitReader(f, banlist.MostBytes))
	line, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &head)
	}
	if err == nil && (head.V != journalVersion || head.Kind > FeedAllow) {
		err = fmt.Errorf("version %d, kind %d", head.V, head.Kind)
	}
	if err != nil {
		return head, nil, fmt.Errorf("its first line: %w", err)
	}
	list, _, err := banlist.Parse(in, banlist.Options{Format: banlist.Plain, MaxEntries: banlist.MostEntries, MaxBytes: banlist.MostBytes})
	if errors.Is(err, banlist.ErrEmpty) {
		err = nil
	}
	return head, list, err
}

// Export returns the networks that are banned now: by rules and persons, or those of one list.
func (g *Guard) Export(list string) ([]netip.Prefix, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if list == "" {
		now := g.clock()
		all := make([]netip.Prefix, 0, len(g.bans))
		for p, b := range g.bans {
			if in(b.Until, now) {
				all = append(all, p)
			}
		}
		return shortest(all), nil
	}
	f := g.feeds[list]
	if f == nil {
		return nil, fmt.Errorf("list %s: %w", list, ErrNoBan)
	}
	if f.kind == FeedAllow {
		return shortest(slices.Clone(g.groups[groupFeed(list)])), nil
	}
	return shortest(g.set.List(f.list)), nil
}

// shortest is the shortest list of the same addresses, sorted.
func shortest(ps []netip.Prefix) []netip.Prefix {
	slices.SortFunc(ps, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	outer := ps[:0]
	for _, p := range ps {
		if n := len(outer); n == 0 || !outer[n-1].Contains(p.Addr()) {
			outer = append(outer, p)
		}
	}
	return banlist.Join(outer)
}
