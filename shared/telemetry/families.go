package telemetry

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Family describes metrics that are counted elsewhere; see Families.
type Family struct {
	Name   string // without the prefix; a counter's ends in "_total"
	Help   string
	Labels []string
}

// Emit hands over one value of the family called name, with a value for each of its labels, which are words of ours. Within one
// reading no two values have the same name and labels.
type Emit func(name string, value float64, labels ...string)

// Families adds metrics that come from one reading: read is called once per scrape, and may run on any goroutine. A family
// whose name ends in "_total" is of counters, another of gauges. A family may have no value yet.
func (m *Metrics) Families(list []Family, read func(Emit)) {
	f := &families{read: read, descs: map[string]*prometheus.Desc{}}
	for _, one := range list {
		if f.descs[one.Name] != nil {
			panic(fmt.Sprintf("telemetry: family %s twice", one.Name))
		}
		f.descs[one.Name] = prometheus.NewDesc(prometheus.BuildFQName(Namespace, m.program, one.Name), one.Help, one.Labels, nil)
	}
	m.registry.MustRegister(f)
}

type families struct {
	descs map[string]*prometheus.Desc // never changed
	read  func(Emit)
}

// Describe is for Prometheus.
func (f *families) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range f.descs {
		ch <- d
	}
}

// Collect is for Prometheus.
func (f *families) Collect(ch chan<- prometheus.Metric) {
	f.read(func(name string, value float64, labels ...string) {
		d := f.descs[name]
		if d == nil {
			d = prometheus.NewDesc("unknown_family", "", nil, nil)
			ch <- prometheus.NewInvalidMetric(d, fmt.Errorf("no family is called %s", name))
			return
		}
		v, err := prometheus.NewConstMetric(d, kindOf(name), value, labels...)
		if err != nil { // a wrong number of labels
			v = prometheus.NewInvalidMetric(d, err)
		}
		ch <- v
	})
}

func kindOf(name string) prometheus.ValueType {

	if strings.HasSuffix(name, "_total") {
		return prometheus.CounterValue
	}
	return prometheus.GaugeValue
}
