package rules

import (
	"strings"
	"testing"
)

func TestConfigIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		"in:\n  numbers: {country: \"049\"}":                                                    "f:2: in.numbers.country: is no country calling code",
		"in:\n  numbers: {country: de}":                                                         "in.numbers.country: is no country",
		"in: {numbers: {national: \"00\"}}":                                                     "in.numbers.international: is the national prefix",
		"in: {numbers: {international: \"\"}}":                                                  "in.numbers.international: is no prefix",
		"in: {numbers: {least: 1}}":                                                             "in.numbers.least: must be from 3 to 15",
		"in: {numbers: {most: 3}}":                                                              "in.numbers.most: must be from least",
		"in: {numbers: {format: roman}}":                                                        "use one of e164",
		"in: {numbers: {fields: [contact]}}":                                                    "use one of request",
		"in: {numbers: {user_phone: true}}":                                                     "needs the country",
		"out:\n\n  identity: {number: alice}":                                                   `f:3: out.identity.number: "alice" is no number`,
		"out: {identity: {own: [\"+49\"]}}":                                                     "out.identity.number: is missing",
		"out: {identity: {own: [x], number: \"1\"}}":                                            "out.identity.own[0]",
		"out: {redirection: maybe}":                                                             "use one of drop",
		"out:\n  changes:\n    - {number: to, match: \"(\", replace: x}":                        "f:3: out.changes[0].match: error parsing regexp",
		"in: {changes: [{number: to, match: a, replace: b, header: X-A}]}":                      "in.changes[0]: names not just one",
		"in: {changes: [{match: a, replace: b}]}":                                               "names not just one",
		"in: {changes: [{number: fax, match: a, replace: b}]}":                                  "is not known here",
		"in: {changes: [{number: to, drop: true}]}":                                             "a number can only be replaced",
		"in: {changes: [{number: to, replace: b}]}":                                             "has no match",
		"in: {changes: [{header: X-A}]}":                                                        "does not say one thing to do",
		"in: {changes: [{header: X-A, set: a, add: b}]}":                                        "does not say one thing to do",
		"in: {changes: [{header: Via, drop: true}]}":                                            `"Via" is not for rules to change`,
		"in: {changes: [{header: contact, set: \"<sip:a@b>\"}]}":                                "is not for rules",
		"in: {changes: [{header: i, set: x}]}":                                                  "is not for rules",
		"in: {changes: [{header: Proxy-Authorization, drop: true}]}":                            "is not for rules",
		"in: {changes: [{header: Brickhouse-Realm, set: access}]}":                              "is not for rules",
		"in: {changes: [{header: Content-Type, set: text/plain}]}":                              "is not for rules",
		"in: {changes: [{header: 'a b', set: x}]}":                                              "is not for rules",
		"in: {changes: [{header: X-A, set: \"a\\r\\nVia: b\"}]}":                                "holds control characters",
		"in: {changes: [{header: X-A, set: a, when: [{match: x}]}]}":                            "in.changes[0].when[0]: names not just one",
		"in: {changes: [{header: X-A, set: a, when: [{header: a, match: '*'}]}]}":               "in.changes[0].when[0].match",
		"in: {changes: [{header: X-A, drop: true, match: '" + strings.Repeat("a", 600) + "'}]}": "longer than 512",
		"in: {changes: [" + strings.Repeat("{header: X-A, drop: true}, ", 65) + "]}":            "has 65, at most 64",
	} {
		_, err := parsed(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
			continue
		}
		if strings.Count(err.Error(), "\n") > 0 || !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("%s: not one line with its place: %v", text, err)
		}
	}
}

func TestDefaultIsRight(t *testing.T) {
	if fs := Default().Check("rules"); len(fs) > 0 {
		t.Errorf("%v", fs)
	}
}
