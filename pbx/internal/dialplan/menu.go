package dialplan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"brickhouse/shared/conffile"
)

// Menu is a number where a caller chooses by keys.
type Menu struct {
	Number     string            `yaml:"number" doc:"Number of the menu, that phones dial; it comes before the rules. Rules lead to the menu with do: menu."`
	Say        []string          `yaml:"say" doc:"Names of the prompts that are said one after the other: shipped ones, or NAME.wav of prompts."`
	Keys       map[string]string `yaml:"keys" doc:"Where keys lead: one or several digits, * or #, and a number as a phone would dial it: an extension, a group, another menu, or one outside."`
	Extensions bool              `yaml:"extensions" doc:"Callers may dial the number of an extension."`
	Names      string            `yaml:"names" doc:"Key by which callers find an extension by the first three letters of a name. Empty: they can't."`
	Wait       time.Duration     `yaml:"wait" doc:"How long a key is waited for after the prompts."`
	Tries      int               `yaml:"tries" doc:"How often a caller may choose nothing, wrong, or somebody who does not answer."`
	Then       string            `yaml:"then" doc:"Number that is called after that. Empty: the caller hears good-bye."`
	Rights     string            `yaml:"rights" doc:"Extension whose rights and caps hold where a key leads outside. Empty: none may lead outside."`
}

// SetDefaults sets what a menu is unless the file says otherwise.
func (m *Menu) SetDefaults() { m.Wait, m.Tries = 5*time.Second, 3 }

// Bounds of a menu.
const (
	maxSay     = 16
	maxKeys    = 100
	maxKeySize = 8 // digits
	maxTries   = 10
)

// Validate says what is wrong with a menu.
func (m *Menu) Validate() []conffile.Fault {
	var fs []conffile.Fault
	bad := func(wrong bool, key, problem, remedy string) {
		if wrong {
			fs = append(fs, conffile.Bad(key, problem, remedy))
		}
	}
	bad(!isNumber(m.Number), "number", "is no number", "give the digits that phones dial")
	bad(len(m.Say) == 0 || len(m.Say) > maxSay, "say", "must be 1 to 16 prompts", "name what the caller hears")
	bad(len(m.Keys) == 0 && !m.Extensions && m.Names == "", "keys", "are missing", "say where keys lead, or extensions: true")
	bad(len(m.Keys) > maxKeys, "keys", "are too many", "give 100 at most")
	for _, k := range slices.Sorted(maps.Keys(m.Keys)) {
		bad(!isKeys(k), "keys", fmt.Sprintf("%q are no keys", k), "use digits, * and #, 8 at most")
		bad(!isNumber(m.Keys[k]), "keys", fmt.Sprintf("%q is no number", m.Keys[k]), "give what a phone would dial")
	}
	bad(m.Names != "" && (!isKeys(m.Names) || m.Keys[m.Names] != ""), "names", "is no key, or leads elsewhere already", "give one that keys does not have")
	bad(m.Wait < time.Second || m.Wait > time.Minute, "wait", "is out of range", "give 1s to 1m")
	bad(m.Tries < 1 || m.Tries > maxTries, "tries", "is out of range", "give 1 to 10")
	bad(m.Then != "" && m.Then == m.Number, "then", "is the menu itself", "name another number")
	return fs
}

func isNumber(s string) bool { return s != "" && len(s) <= maxNumber && numberOnly(s) }

func isKeys(s string) bool {
	return s != "" && len(s) <= maxKeySize && strings.Trim(s, "0123456789*#") == ""
}

// compileMenus takes over the menus.
func (p *Plan) compileMenus(menus map[string]Menu) error {
	p.menus = menus
	for _, name := range slices.Sorted(maps.Keys(menus)) {
		m := menus[name]
		if fs := m.Validate(); len(fs) > 0 {
			return fmt.Errorf("menus.%s.%s: %s", name, fs[0].Key, fs[0].Problem)
		}
		if err := p.addPlace(ToMenu, name, m.Number); err != nil {
			return err
		}
	}
	return nil
}

// Menu returns the menu of that name.
func (p *Plan) Menu(name string) (Menu, bool) {
	m, ok := p.menus[name]
	return m, ok
}
