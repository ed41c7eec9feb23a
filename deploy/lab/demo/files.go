package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// account is one extension as quickstart writes it down.
type account struct {
	Number   string `json:"number"`
	Name     string `json:"name"`
	Password string `json:"password"`
	Realm    string `json:"realm"`
}

// maxFile bounds the files that are read, in bytes.
const maxFile = 1 << 20

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err // names the file
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return b, nil
}

// readAccounts reads the accounts; the first is the remote phone's, the second the inside phone's.
func readAccounts(path string) ([]account, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: give the accounts.json that quickstart wrote", err)
	}
	var out []account
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("%s: %w: give the accounts.json that quickstart wrote", path, err)
	}
	if len(out) < 2 {
		return nil, fmt.Errorf("%s holds %d accounts: two are needed", path, len(out))
	}
	for i, a := range out[:2] {
		if a.Number == "" || a.Password == "" || a.Realm == "" {
			return nil, fmt.Errorf("%s: account %d lacks number, password or realm", path, i+1)
		}
	}
	return out[:2], nil
}

// trust is whose certificates the remote phone believes.
type trust struct{ roots *x509.CertPool }

func readTrust(path string) (*trust, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: give the ca.crt that quickstart wrote", err)
	}
	t := &trust{roots: x509.NewCertPool()}
	if !t.roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form: give the ca.crt that quickstart wrote", path)
	}
	return t, nil
}

func (t *trust) config() *tls.Config {
	return &tls.Config{RootCAs: t.roots, MinVersion: tls.VersionTLS12}
}
