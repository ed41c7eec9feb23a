package dtls

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	pion "github.com/pion/dtls/v3"

	"brickhouse/sbc/internal/media/keying"
)

// attempt is one handshake with one address.
type attempt struct {
	association *Association
	remote      netip.AddrPort
	proven      bool
	pipe        *pipe
	mismatch    atomic.Bool // the far side showed another certificate
}

// run does the handshake and returns the keys. Whatever way it ends, nothing is sent any more.
func (t *attempt) run() (keys Keys, err error) {
	defer func() {
		if p := recover(); p != nil { // a stranger's bytes are read in here
			err = fmt.Errorf("handshake panicked: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(t.association.ctx, attemptLife)
	defer cancel()
	conn, err := t.open()
	if err != nil {
		return Keys{}, fmt.Errorf("preparing DTLS: %w", err)
	}
	defer func() {
		if err == nil {
			t.pipe.mute() // no close_notify: to a browser it is the end of the media
		}
		_ = conn.Close()
	}()
	if err := conn.HandshakeContext(ctx); err != nil {
		if t.mismatch.Load() {
			return Keys{}, ErrMismatch
		}
		return Keys{}, fmt.Errorf("DTLS handshake: %w", err)
	}
	return t.export(conn)
}

func (t *attempt) open() (*pion.Conn, error) {
	both := t.options()
	if t.association.cfg.Role == Active {
		opts := make([]pion.ClientOption, 0, len(both)+1)
		for _, o := range both {
			opts = append(opts, o)
		}
		return pion.ClientWithOptions(t.pipe, t.pipe.remote, opts...)
	}
	opts := make([]pion.ServerOption, 0, len(both)+1)
	for _, o := range both {
		opts = append(opts, o)
	}
	// Without this the phone would not have to show a certificate, and anybody could be the phone.
	opts = append(opts, pion.WithClientAuth(pion.RequireAnyClientCert))
	return pion.ServerWithOptions(t.pipe, t.pipe.remote, opts...)
}

// options are those of both roles. The certificate is judged by its fingerprint and nothing else (RFC 5763 §5).
func (t *attempt) options() []pion.Option {
	cfg := &t.association.cfg
	profiles := make([]pion.SRTPProtectionProfile, 0, len(cfg.Suites))
	for _, s := range cfg.Suites {
		profiles = append(profiles, profileOf(s))
	}
	return []pion.Option{
		pion.WithCertificates(cfg.Identity.certificate),
		pion.WithCipherSuites(
			pion.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, pion.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			pion.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, pion.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
		pion.WithSRTPProtectionProfiles(profiles...),
		pion.WithExtendedMasterSecret(pion.RequireExtendedMasterSecret), // RFC 7627: a session is one with who made it
		pion.WithInsecureSkipVerify(true),
		pion.WithVerifyPeerCertificate(t.verify),
		pion.WithLoggerFactory(mute{}),
	}
}

// verify compares the certificate that the far side has shown it owns with what its description promised.
func (t *attempt) verify(raw [][]byte, _ [][]*x509.Certificate) error {
	err := ErrMismatch
	if len(raw) > 0 {
		err = match(t.association.cfg.Peer, raw[0])
	}
	if err != nil {
		t.mismatch.Store(true)
	}
	return err
}

// export takes the SRTP keys out of a finished handshake.
func (t *attempt) export(conn *pion.Conn) (Keys, error) {
	profile, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return Keys{}, errors.New("no SRTP profile was agreed on")
	}
	suite := keying.None
	for _, s := range t.association.cfg.Suites {
		if profileOf(s) == profile {
			suite = s
		}
	}
	if suite == keying.None {
		return Keys{}, errors.New("an SRTP profile that was not offered")
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return Keys{}, errors.New("the handshake left no state")
	}
	material, err := state.ExportKeyingMaterial(keying.ExportLabel, nil, suite.ExportLength())
	if err != nil {
		return Keys{}, fmt.Errorf("exporting SRTP keys: %w", err)
	}
	client, server, err := keying.FromExport(suite, material)
	if err != nil {
		return Keys{}, err
	}
	if t.association.cfg.Role == Active {
		return Keys{Ours: client, Theirs: server, Remote: t.remote}, nil
	}
	return Keys{Ours: server, Theirs: client, Remote: t.remote}, nil
}

func profileOf(s keying.Suite) pion.SRTPProtectionProfile {
	switch s {
	case keying.AEADAES256GCM:
		return pion.SRTP_AEAD_AES_256_GCM
	case keying.AEADAES128GCM:
		return pion.SRTP_AEAD_AES_128_GCM
	}
	return pion.SRTP_AES128_CM_HMAC_SHA1_80
}
