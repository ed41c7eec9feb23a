package guard

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
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
	if err := g.ownImport(name); err != nil {
		return report, err
	}
	head := importHead{V: journalVersion, Kind: kind, By: clean(by, 64), At: g.clock()}
	if err := g.writeImport(name, head, list); err != nil {
		return report, fmt.Errorf("list %s: %w", name, err)
	}
	if err := g.SetList(name, kind, list); err != nil {
		return report, err
	}
	g.log.Info("list is imported", "list", name, "by", head.By, "entries", len(list))
	return report, g.audit(record{Op: opList, List: name, Entries: len(list), At: head.At, By: head.By})
}

// DropImport ends an imported list. ErrNoBan: there is none of that name.
func (g *Guard) DropImport(name, by string) error {
	if !importName.MatchString(name) {
		return fmt.Errorf("list %q: %w", name, ErrListName)
	}
	if err := g.ownImport(name); err != nil {
		return err
	}
	if err := os.Remove(g.importPath(name)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list %s: %w", name, ErrNoBan)
	} else if err != nil {
		return fmt.Errorf("list %s: %w", name, err)
	}
	if err := g.EndList(name); err != nil {
		return err
	}
	g.log.Info("imported list is dropped", "list", name, "by", by)
	return g.audit(record{Op: opList, List: name, At: g.clock(), By: clean(by, 64)})
}

func (g *Guard) audit(r record) error { return g.journal.write(r)() }

// ownImport refuses a name whose list is not an import.
func (g *Guard) ownImport(name string) error {
	_, err := os.Stat(g.importPath(name))
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.feeds[name] != nil && err != nil {
		return fmt.Errorf("list %s: %w", name, ErrListTaken)
	}
	return nil
}

func (g *Guard) importPath(name string) string {
	return filepath.Join(filepath.Dir(g.journal.path), importsDir, name+importSuffix)
}

func (g *Guard) writeImport(name string, head importHead, list []netip.Prefix) error {
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(head); err != nil {
		return err
	}
	if err := banlist.Write(&buf, list, banlist.Plain); err != nil {
		return err
	}
	path := g.importPath(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := replaceFile(path, buf.Bytes())
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), dir.Sync())
}

// loadImportsLocked puts the imported lists into force. One that can't be read is told and left out.
func (g *Guard) loadImportsLocked() {
	paths, _ := filepath.Glob(g.importPath("*")) // only a bad pattern fails
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), importSuffix)
		if !importName.MatchString(name) {
			continue
		}
		head, list, err := readImport(path)
		if err == nil {
			err = g.setListLocked(name, head.Kind, list)
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
		return banlist.Join(all), nil
	}
	f := g.feeds[list]
	if f == nil {
		return nil, fmt.Errorf("list %s: %w", list, ErrNoBan)
	}
	if f.kind == FeedAllow {
		return g.groups[groupFeed(list)], nil
	}
	return g.set.List(f.list), nil
}
