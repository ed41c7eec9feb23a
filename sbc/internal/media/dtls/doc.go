// Package dtls keys SRTP by DTLS 1.2 (RFC 5763, RFC 5764): the certificate that we show, the fingerprints that others promise in their
// descriptions, and the handshake that proves who is at the other end of a media path.
//
// It owns no socket. Packets that RFC 7983 §7 says are DTLS are put into an Association, which sends through a function, and only those
// from a source that ICE or the description has proved: nothing is kept for a stranger. The handshake itself is pion/dtls's, each in
// goroutines of its own, so that the packet loop never waits. It ends with the keys; from then on nothing is sent but the last flight
// again for a phone that missed it, and no alert or close_notify of either side ends a call: signalling does.
package dtls

import "github.com/pion/logging"

// mute is a logger for pion that says nothing: what strangers make it complain of is counted by us.
type mute struct{}

func (mute) NewLogger(string) logging.LeveledLogger { return mute{} }

func (mute) Trace(string)          {}
func (mute) Tracef(string, ...any) {}
func (mute) Debug(string)          {}
func (mute) Debugf(string, ...any) {}
func (mute) Info(string)           {}
func (mute) Infof(string, ...any)  {}
func (mute) Warn(string)           {}
func (mute) Warnf(string, ...any)  {}
func (mute) Error(string)          {}
func (mute) Errorf(string, ...any) {}
