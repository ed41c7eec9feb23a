package exchange

import (
	"crypto/rand"
	"path/filepath"
	"time"

	"brickhouse/pbx/internal/registrar"
	"brickhouse/shared/digest"
	"brickhouse/shared/keyfile"
)

// newAuthenticator makes what finds out who sent a request.
func (x *Exchange) newAuthenticator() (*registrar.Authenticator, error) {
	key := make([]byte, keyfile.Size)
	rand.Read(key) //nolint:errcheck // crypto/rand never fails
	// A name that is no account is challenged like one, and with another key it would be like another one.
	decoys, err := keyfile.Load(filepath.Join(x.cfg.State, "decoy.key"))
	if err != nil {
		return nil, err
	}
	nonces, err := digest.NewNonces(digest.NonceConfig{
		Key: key, Life: x.cfg.Digest.NonceLife, Max: digest.DefaultNonceMax, Rand: rand.Reader,
	}, x.now())
	if err != nil {
		return nil, err
	}
	return registrar.NewAuthenticator(registrar.AuthConfig{
		Realm: x.cfg.Domain, Domains: append([]string{x.cfg.Domain}, x.cfg.Aliases...),
		Algorithms: algorithms(x.cfg.Digest.MD5), Decoys: x.orders, DecoyKey: decoys, Log: x.log,
	}, x.accounts, nonces)
}

// orders are the orders of algorithms that real accounts are challenged with, so that a name that is none can be
// challenged like one.
func (x *Exchange) orders() [][]digest.Algorithm {
	var out [][]digest.Algorithm
	for _, e := range x.store.Extensions() {
		if len(e.Algorithms) > 0 {
			out = append(out, e.Algorithms)
		}
	}
	return out
}

// algorithms is the order for an account that names none: the strongest first (RFC 8760 §2.3).
func algorithms(md5 bool) []digest.Algorithm {
	if md5 {
		return []digest.Algorithm{digest.SHA256, digest.MD5}
	}
	return []digest.Algorithm{digest.SHA256}
}

// durableWait is how long a registration's 200 waits for the disk. No other machine has the row: what is acknowledged and not
// on disk dies with the process. A phone repeats its REGISTER only after T1, 500 ms.
const durableWait = 400 * time.Millisecond

// newRegistrar makes what keeps the bindings.
func (x *Exchange) newRegistrar() (*registrar.Registrar, error) {
	conf := registrar.DefaultConfig()
	conf.MinExpires, conf.MaxExpires, conf.DefaultExpires = x.cfg.Limits.MinExpires, x.cfg.Limits.MaxExpires, x.cfg.Limits.MaxExpires
	conf.MaxContacts, conf.Log = x.cfg.Limits.Contacts, x.log
	conf.DurableWait = durableWait
	return registrar.New(conf, x.auth, x.store)
}
