package b2bua

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// fakeMedia carries descriptions across and checks that offers and answers take turns (RFC 3264).
type fakeMedia struct {
	t *testing.T

	mu     sync.Mutex       // guards below: calls may share it
	fail   map[string]error // what to say to a description
	offer  Side
	made   bool
	log    []string
	closed int
}

func (m *fakeMedia) Offer(from Side, sdp []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, fmt.Sprintf("offer %s %s", from, sdp))
	m.offer, m.made = from, true
	return m.passLocked(from, sdp)
}

func (m *fakeMedia) Answer(from Side, sdp []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, fmt.Sprintf("answer %s %s", from, sdp))
	if !m.made || m.offer == from {
		m.t.Errorf("an answer without an offer: %q", m.log)
	}
	return m.passLocked(from, sdp)
}

func (m *fakeMedia) passLocked(from Side, sdp []byte) ([]byte, error) {
	if m.closed > 0 {
		m.t.Errorf("media used after Close: %q", m.log)
	}
	if err := m.fail[string(sdp)]; err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s>%s", sdp, from.Other()), nil
}

func (m *fakeMedia) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed++
}

// done fails the test unless it was closed once.
func (m *fakeMedia) done() {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed != 1 {
		m.t.Errorf("media closed %d times", m.closed)
	}
}

// wants fails the test unless the media were told exactly this.
func (m *fakeMedia) wants(want ...string) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.Join(m.log, ", ") != strings.Join(want, ", ") {
		m.t.Errorf("media were told %q, want %q", m.log, want)
	}
}
