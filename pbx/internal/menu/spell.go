package menu

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// keypad are the letters of the keys 2 to 9 (E.161).
var keypad = [...]string{"abc", "def", "ghi", "jkl", "mno", "pqrs", "tuv", "wxyz"}

// spells reports whether a word of a name begins with these keys. Letters with marks count as those without; a name without letters of
// E.161 can't be found.
func spells(name, keys string) bool {
	for word := range strings.FieldsSeq(name) {
		if strings.HasPrefix(pressed(word), keys) {
			return true
		}
	}
	return false
}

// pressed are the keys by which a word is written.
func pressed(word string) string {
	var b strings.Builder
	for _, r := range norm.NFD.String(strings.ToLower(strings.ReplaceAll(word, "ß", "ss"))) {
		switch {
		case r >= '0' && r <= '9':
			b.WriteRune(r)
		case unicode.IsLetter(r):
			for i, letters := range keypad {
				if strings.ContainsRune(letters, r) {
					b.WriteByte(byte('2' + i))
				}
			}
		}
	}
	return b.String()
}
