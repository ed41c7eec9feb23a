package store

import (
	"fmt"
	"testing"
	"time"
)

func BenchmarkPutBinding(b *testing.B) {
	s := newStore(b)
	for i := range 10_000 {
		ok(b)(s.PutBindings(b.Context(), binding(fmt.Sprint(i), "sip:a@10.0.0.1:5060", time.Hour)))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		ok(b)(s.PutBindings(b.Context(), binding(fmt.Sprint(i%10_000), "sip:a@10.0.0.1:5060", time.Hour)))
	}
}

// BenchmarkPutCallParallel shows what batching does: many writers, one transaction.
func BenchmarkPutCallParallel(b *testing.B) {
	s := newStore(b)
	b.ReportAllocs()
	b.SetParallelism(128)
	b.RunParallel(func(pb *testing.PB) {
		c := &Call{ID: fmt.Sprintf("%p", pb), State: CallUp, Trunk: "t", Started: epoch}
		for pb.Next() {
			ok(b)(s.PutCall(b.Context(), c))
		}
	})
}

func BenchmarkGetExtension(b *testing.B) {
	s := newStore(b)
	for i := range 10_000 {
		ok(b)(s.PutExtension(b.Context(), &Extension{Number: fmt.Sprint(i)}))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, there := s.Extension("4711"); !there {
			b.Fatal("lost")
		}
	}
}

func BenchmarkGetBindings(b *testing.B) {
	s := newStore(b)
	for i := range 10_000 {
		ok(b)(s.PutBindings(b.Context(), binding(fmt.Sprint(i), "sip:a@10.0.0.1:5060", time.Hour)))
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(s.Bindings("4711", epoch)) != 1 {
			b.Fatal("lost")
		}
	}
}
