package banapi

import (
	"fmt"
	"strings"
	"testing"
)

// notification is an alert with all that CrowdSec puts into it.
const notification = `[{"capacity":5,"created_at":"2026-11-20T10:00:00Z","decisions":[{"duration":"3h59m58s","id":17,"origin":"crowdsec",
"scenario":"crowdsecurity/ssh-bf","scope":"Ip","simulated":false,"type":"ban","until":"2026-11-20T14:00:00Z","uuid":"f0e1","value":"203.0.113.5"}],
"events":[{"meta":[{"key":"ASNOrg","value":"Example"},{"key":"log_type","value":"ssh_failed-auth"}],"timestamp":"2026-11-20T09:59:59Z"}],
"events_count":6,"id":4,"kind":"crowdsec","labels":null,"leakspeed":"10s","machine_id":"m","message":"Ip 203.0.113.5 performed 'crowdsecurity/ssh-bf'",
"meta":[],"remediation":true,"scenario":"crowdsecurity/ssh-bf","scenario_hash":"4441","scenario_version":"0.3","simulated":false,
"source":{"as_name":"Example","as_number":"64500","cn":"XX","ip":"203.0.113.5","latitude":52.1,"longitude":-4.5,"range":"203.0.113.0/24",
"scope":"Ip","value":"203.0.113.5"},"start_at":"2026-11-20T09:59:00Z","stop_at":"2026-11-20T09:59:59Z","uuid":"a1b2"}]`

func TestReadAlerts(t *testing.T) {
	one := wish{Duration: "4h", Scope: "Ip", Value: "192.0.2.7", Type: "ban", Scenario: "ssh-bf"}
	deep := func(n int) string { return `[{"events":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}]` }
	decision := `{"duration":"4h","scope":"Ip","value":"192.0.2.7","type":"ban"}`
	for name, c := range map[string]struct {
		text   string
		alerts int
		wishes []wish
		err    string
	}{
		"nothing":                               {`[]`, 0, nil, ""},
		"as an agent sends":                     {alert("4h", "Ip", "192.0.2.7"), 1, []wish{one}, ""},
		"as CrowdSec's HTTP notification sends": {notification, 1, []wish{{Duration: "3h59m58s", Scope: "Ip", Value: "203.0.113.5", Type: "ban", Scenario: "crowdsecurity/ssh-bf"}}, ""},
		"no decisions":                          {`[{"scenario":"x","decisions":null},{}]`, 2, nil, ""},
		"scenario comes last":                   {`[{"decisions":[` + decision + `],"scenario":"ssh-bf"}]`, 1, []wish{one}, ""},
		"only a simulation": {`[{},{"simulated":true,"decisions":[{"simulated":null,"value":"x"}]}]`, 2,
			[]wish{{Alert: 1, Value: "x", Simulated: true}}, ""},
		"keys are as they are": {`[{"Decisions":[` + decision + `],"decisions":[{"VALUE":"x"}]}]`, 1, []wish{{}}, ""},
		"deep enough":          {deep(13), 1, nil, ""},

		"too deep":          {deep(maxDepth), 0, nil, "deeper than 16"},
		"too deep, objects": {`[{"a":` + strings.Repeat(`{"a":`, 20) + `1` + strings.Repeat("}", 22), 0, nil, "deeper than 16"},
		"one alert":         {`{"decisions":[]}`, 0, nil, "a list is missing"},
		"empty":             {``, 0, nil, "no JSON"},
		"cut":               {`[{"decisions":[`, 0, nil, "no JSON"},
		"trailing":          {`[] []`, 0, nil, "something follows"},
		"trailing rubbish":  {`[]x`, 0, nil, "something follows"},
		"twice":             {`[{"decisions":[],"decisions":[]}]`, 0, nil, `"decisions" stands twice`},
		"twice, within":     {`[{"decisions":[{"value":"192.0.2.1","value":"192.0.2.2"}]}]`, 0, nil, `"value" stands twice`},
		"twice, escaped":    {`[{"decisions":[{"value":"192.0.2.1","v\u0061lue":"192.0.2.2"}]}]`, 0, nil, `"value" stands twice`},
		"twice, elsewhere":  {`[{"source":{"a":{"b":1,"b":2}}}]`, 0, nil, `"b" stands twice`},
		"null decision":     {`[{"decisions":[null]}]`, 0, nil, "an object is missing"},
		"number":            {`[{"decisions":[{"value":1}]}]`, 0, nil, "value is no string"},
		"no list":           {`[{"decisions":{}}]`, 0, nil, "no list"},
		"no flag":           {`[{"simulated":"yes"}]`, 0, nil, "neither true nor false"},
		"long":              {`[{"decisions":[{"duration":"` + strings.Repeat("1", 65) + `"}]}]`, 0, nil, "more than 64 bytes"},
		"not UTF-8":         {"[{\"scenario\":\"\xff\"}]", 0, nil, "UTF-8"},
		"many decisions":    {`[{"decisions":[` + strings.Repeat("{},", maxDecisions) + `{}]}]`, 0, nil, "more than 1000 decisions"},
		"many in all":       {`[{"decisions":[` + strings.Repeat("{},", 900) + `{}]},{"decisions":[` + strings.Repeat("{},", 100) + `{}]}]`, 0, nil, "more than 1000 decisions"},
		"many alerts":       {`[` + strings.Repeat("{},", maxAlerts) + `{}]`, 0, nil, "more than 1000 alerts"},
	} {
		n, wishes, err := readAlerts([]byte(c.text))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || n != 0 || wishes != nil {
				t.Errorf("%s: %d %v %v, want %s", name, n, wishes, err, c.err)
			}
			continue
		}
		if err != nil || n != c.alerts || fmt.Sprint(wishes) != fmt.Sprint(c.wishes) {
			t.Errorf("%s: %d %+v %v, want %d %+v", name, n, wishes, err, c.alerts, c.wishes)
		}
	}
}

// FuzzReadAlerts holds the bounds of what is read, and that only networks and times that can be meant are understood.
func FuzzReadAlerts(f *testing.F) {
	for _, s := range []string{notification, alert("4h", "Ip", "192.0.2.7"), alert("10m", "range", "2001:db8::/48"), `[]`, `[{"decisions":null}]`,
		`[{"a":[{"b":{"c":[1,2.5e3,true,null,"\u0000"]}}]}]`, `[{"simulated":true,"decisions":[{"type":"ban"},{}]}]`, `[{"decisions":[{"value":"x","value":"y"}]}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		alerts, wishes, err := readAlerts(data)
		if err != nil {
			if alerts != 0 || wishes != nil {
				t.Fatal("half an answer")
			}
			return
		}
		if alerts > maxAlerts || len(wishes) > maxDecisions {
			t.Fatal(alerts, len(wishes))
		}
		for _, w := range wishes {
			if w.Alert < 0 || w.Alert >= alerts || len(w.Scenario) > maxNote || len(w.Value) > maxNote {
				t.Fatalf("%+v", w)
			}
			p, length, err := w.read()
			if err == nil && (!p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" || length <= 0) {
				t.Fatalf("%+v is %s for %s", w, p, length)
			}
		}
	})
}
