// Command devserver is a real Vault server, trimmed to what Brickhouse's tests need: storage in memory, one unseal key,
// the secret engines kv, transit and pki, the AppRole login and the file audit device. It is Vault's own core and HTTP
// handler, so policies, leases, sealing and errors are those of production.
//
// It is for tests and trying out only. It keeps nothing, prints its root token, and is built from the last release under
// the MPL-2.0 (v1.13.1), which is old: production uses the operator's own Vault.
//
// On standard output it prints three lines and then serves until SIGTERM or SIGINT:
//
//	root token
//	URL, as http://127.0.0.1:8200
//	unseal key, base64
package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	kv "github.com/hashicorp/vault-plugin-secrets-kv"

	log "github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/audit"
	auditfile "github.com/hashicorp/vault/builtin/audit/file"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/pki"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "address and port to listen on; port 0 takes a free one")
	cert := flag.String("tls-cert", "", "certificate file; with -tls-key the server speaks HTTPS")
	key := flag.String("tls-key", "", "private key file of -tls-cert")
	level := flag.String("log", "error", "log level on standard error: trace, debug, info, warn, error, off")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := serve(ctx, *addr, *cert, *key, *level); err != nil {
		fmt.Fprintln(os.Stderr, "devserver:", err)
		os.Exit(1)
	}
}

// serve starts an unsealed server, says how to reach it, and runs it until ctx ends.
func serve(ctx context.Context, addr, cert, key, level string) error {
	core, err := newCore(log.New(&log.LoggerOptions{Name: "vault", Level: log.LevelFromString(level), Output: os.Stderr}))
	if err != nil {
		return err
	}
	token, unseal, err := initialize(ctx, core)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	scheme := "http"
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return fmt.Errorf("loading the certificate: %w", err)
		}
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
		scheme = "https"
	}
	fmt.Printf("%s\n%s://%s\n%s\n", token, scheme, ln.Addr(), base64.StdEncoding.EncodeToString(unseal))
	srv := &http.Server{
		Handler:           vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return core.Shutdown()
}

// newCore builds a sealed, empty Vault core that stores in memory.
func newCore(logger log.Logger) (*vault.Core, error) {
	storage, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return nil, fmt.Errorf("opening storage: %w", err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:     storage,
		Logger:       logger,
		DisableMlock: true,
		LogicalBackends: map[string]logical.Factory{
			"kv": kv.Factory, "transit": transit.Factory, "pki": pki.Factory,
		},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory},
		AuditBackends:      map[string]audit.Factory{"file": auditfile.Factory},
		BuiltinRegistry:    registry{},
	})
	if err != nil {
		return nil, fmt.Errorf("creating the core: %w", err)
	}
	return core, nil
}

// initialize makes one unseal key, unseals with it and returns the root token and the key.
func initialize(ctx context.Context, core *vault.Core) (token string, key []byte, err error) {
	one := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	res, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: one, RecoveryConfig: one})
	if err != nil {
		return "", nil, fmt.Errorf("initializing: %w", err)
	}
	if ok, err := core.Unseal(append([]byte(nil), res.SecretShares[0]...)); err != nil || !ok {
		return "", nil, fmt.Errorf("unsealing: done=%v: %w", ok, err)
	}
	return res.RootToken, res.SecretShares[0], nil
}

// registry tells the core's plugin catalog which engines are compiled in. The core panics without one.
type registry struct{}

func (registry) names(t consts.PluginType) []string {
	switch t {
	case consts.PluginTypeSecrets:
		return []string{"kv", "transit", "pki"}
	case consts.PluginTypeCredential:
		return []string{"approle"}
	}
	return nil
}

func (r registry) Contains(name string, t consts.PluginType) bool {
	for _, n := range r.names(t) {
		if n == name {
			return true
		}
	}
	return false
}

func (r registry) Get(name string, t consts.PluginType) (func() (interface{}, error), bool) {
	return nil, r.Contains(name, t)
}

func (r registry) Keys(t consts.PluginType) []string { return r.names(t) }

func (r registry) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, true
}
