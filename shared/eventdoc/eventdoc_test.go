package eventdoc

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestEvent(t *testing.T) {
	for value, want := range map[string]Event{
		"dialog": {Package: "dialog"}, "dialog;sla;id=7": {"dialog", "7"}, " presence ; id=a": {"presence", "a"},
	} {
		got, err := ParseEvent(value)
		if err != nil || got != want {
			t.Errorf("%q is %+v, %v", value, got, err)
		}
	}
	for _, value := range []string{"", ";id=1", "a b", "dialog;id=\"x y\"", "dialog;", strings.Repeat("a", 65), "dialog\x00"} {
		if got, err := ParseEvent(value); err == nil {
			t.Errorf("%q is read as %+v", value, got)
		}
	}
}

var info = DialogInfo{User: "1002", Version: 3, Dialogs: []DialogEntry{
	{ID: "c1", State: Early}, {ID: "c2", Initiator: true, State: Confirmed, Remote: &Identity{"1001", `A & "B" <c>`}},
}}

// TestNoHostPasses reads what was written for one domain and writes it for another: nothing of the first is left.
func TestNoHostPasses(t *testing.T) {
	pidf := PIDF{User: "1002", OnPhone: true, Tuples: []Tuple{{ID: "a", Open: true, Note: "in <a> \"meeting\" & more"}, {ID: "b"}}}
	summary := Summary{User: "1002", New: 2, Old: 5}
	gotInfo, err1 := ParseDialogInfo(info.Bytes("10.1.2.3"))
	gotPIDF, err2 := ParsePIDF(pidf.Bytes("10.1.2.3"))
	gotSummary, err3 := ParseSummary(summary.Bytes("10.1.2.3"))
	if !reflect.DeepEqual(gotInfo, info) || !reflect.DeepEqual(gotPIDF, pidf) || gotSummary != summary {
		t.Errorf("read back as\n%+v\n%+v\n%+v", gotInfo, gotPIDF, gotSummary)
	}
	all := bytes.Join([][]byte{gotInfo.Bytes("example.com"), gotPIDF.Bytes("example.com"), gotSummary.Bytes("example.com")}, nil)
	if err := errors.Join(err1, err2, err3); err != nil || bytes.Contains(all, []byte("10.1.2.3")) || bytes.Count(all, []byte("@example.com")) != 4 {
		t.Errorf("%v, written anew as\n%s", err, all)
	}
}

// TestTemplate gives one document out with several versions.
func TestTemplate(t *testing.T) {
	made := info.Template("example.com")
	for _, v := range []uint32{0, 7, 4_000_000_000} {
		got, err := ParseDialogInfo(made.With(v))
		if want := info; err != nil || got.Version != v || len(got.Dialogs) != len(want.Dialogs) {
			t.Errorf("version %d is %+v, %v", v, got, err)
		}
	}
}

// TestHostile holds the reader against documents that are traps.
func TestHostile(t *testing.T) {
	head := `<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:a@b">`
	for name, doc := range map[string]string{
		"entities":       `<!DOCTYPE p [<!ENTITY x "y">]>` + head + "&x;</presence>",
		"unknown entity": head + "<note>&x;</note></presence>",
		"depth":          head + strings.Repeat("<a>", 20) + strings.Repeat("</a>", 20) + "</presence>",
		"elements":       head + strings.Repeat("<a/>", 600) + "</presence>",
		"size":           head + strings.Repeat(" ", MaxSize) + "</presence>",
		"cut":            head, "two roots": head + "</presence><a/>", "instruction": head + `<?php x?></presence>`,
		"tuples":       head + strings.Repeat(`<tuple id="a"/>`, 17) + "</presence>",
		"charset":      `<?xml version="1.0" encoding="latin1"?>` + head + "</presence>",
		"not UTF-8":    head + "<note>\xff</note></presence>",
		"another kind": `<presence entity="sip:a@b"/>`, "no address": `<presence xmlns="urn:ietf:params:xml:ns:pidf"/>`,
		"user":   `<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:a%20b@c"/>`,
		"status": head + `<tuple id="a"><status><basic>ajar</basic></status></tuple></presence>`,
	} {
		if got, err := ParsePIDF([]byte(doc)); !errors.Is(err, ErrDocument) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	p, err := ParsePIDF([]byte(head + "<note>one\r\n\x7ftwo " + strings.Repeat("ü", 400) + "</note></presence>"))
	if err != nil || !strings.HasPrefix(p.Note, "one two ü") || len(p.Note) > maxText {
		t.Errorf("note %q, %v", p.Note, err)
	}
}

// stable holds what was read against what is read of what is written of it.
func stable[T any](t *testing.T, data []byte, parse func([]byte) (T, error), write func(T) []byte) {
	first, err := parse(data)
	if err != nil {
		return
	}
	out := write(first)
	second, err := parse(out)
	if err != nil || !reflect.DeepEqual(first, second) {
		t.Errorf("%+v is written as\n%s\nand read as %+v, %v", first, out, second, err)
	}
}

func FuzzDialogInfo(f *testing.F) {
	f.Add(info.Bytes("example.com"))
	f.Fuzz(func(t *testing.T, data []byte) {
		stable(t, data, ParseDialogInfo, func(d DialogInfo) []byte { return d.Bytes("d") })
	})
}

func FuzzPIDF(f *testing.F) {
	f.Add(PIDF{User: "1", OnPhone: true, Tuples: []Tuple{{"a", true, "x"}}}.Bytes("example.com"))
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		stable(t, data, func(b []byte) (PIDF, error) { p, err := ParsePIDF(b); p.Note = ""; return p, err }, func(p PIDF) []byte { return p.Bytes("d") })
	})
}

func FuzzSummary(f *testing.F) {
	f.Add(Summary{User: "1", New: 1, Old: 2}.Bytes("example.com"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSummary(data)
		if err == nil && s.User != "" {
			stable(t, data, ParseSummary, func(s Summary) []byte { return s.Bytes("d") })
		}
	})
}

func FuzzEvent(f *testing.F) {
	f.Add("dialog;id=1")
	f.Fuzz(func(t *testing.T, value string) {
		e, err := ParseEvent(value)
		if err != nil {
			return
		}
		if again, err := ParseEvent(e.String()); err != nil || again != e {
			t.Errorf("%q is %+v, then %+v, %v", value, e, again, err)
		}
	})
}
