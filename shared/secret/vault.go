package secret

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	vaultapi "github.com/hashicorp/vault/api"

	"brickhouse/shared/pki"
)

// maxAnswer bounds, in bytes, an answer of the server.
const maxAnswer = 8 << 20

// vaultStore is a Store in a KV version 2 engine.
//
// A goroutine renews the token and, when it can't be renewed any more, logs in again; see token.go.
type vaultStore struct {
	cfg    VaultConfig
	client *vaultapi.Client
	log    *slog.Logger

	stop   context.CancelFunc
	done   chan struct{} // closed when the renewing goroutine ended
	closed sync.Once

	login sync.Mutex // one login at a time
	mu    sync.Mutex
	token tokenState
	ended bool
}

// OpenVault logs in to the server and checks that the engine is there. ErrUnavailable tells that it is away or sealed;
// any other error is the operator's to mend. ctx bounds opening only.
func OpenVault(ctx context.Context, cfg VaultConfig, log *slog.Logger) (Store, error) {
	if faults := cfg.faults(); len(faults) > 0 {
		return nil, &Error{Where: "vault", Problem: faults[0].Key + " " + faults[0].Problem, Remedy: faults[0].Remedy}
	}
	client, err := newVaultClient(cfg)
	if err != nil {
		return nil, err
	}
	s := &vaultStore{cfg: cfg, client: client, log: log, done: make(chan struct{})}
	if err := s.logIn(ctx, 0); err != nil {
		return nil, err
	}
	if err := s.checkMount(ctx); err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go s.keepToken(life)
	return s, nil
}

// newVaultClient makes a client that takes nothing from the environment: address, token, namespace, headers and proxies
// are what the configuration says.
func newVaultClient(cfg VaultConfig) (*vaultapi.Client, error) {
	tlsConf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName}
	if cfg.CAFile != "" {
		pool, err := pki.Roots(cfg.CAFile, time.Now())
		if err != nil {
			return nil, err
		}
		tlsConf.RootCAs = pool
	}
	dialer := &net.Dialer{Timeout: cfg.Timeout, KeepAlive: 15 * time.Second}
	conf := &vaultapi.Config{
		Address: cfg.Address,
		Timeout: cfg.Timeout,
		HttpClient: &http.Client{
			Transport: bounded{&http.Transport{
				DialContext: dialer.DialContext, TLSClientConfig: tlsConf, TLSHandshakeTimeout: cfg.Timeout,
				ResponseHeaderTimeout: cfg.Timeout, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 4, ForceAttemptHTTP2: true,
			}},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		MaxRetries: 0, // who asks decides: the cache serves what it has at once
	}
	client, err := vaultapi.NewClient(conf)
	if err != nil {
		return nil, &Error{Where: "vault " + cfg.Address, Problem: "client can't be made", Remedy: "check the VAULT_ variables of the environment"}
	}
	client.SetHeaders(http.Header{vaultapi.RequestHeaderName: []string{"true"}})
	client.ClearToken()
	client.ClearNamespace()
	if cfg.Namespace != "" {
		client.SetNamespace(cfg.Namespace)
	}
	return client, nil
}

// bounded is a transport whose answers end at maxAnswer bytes.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxAnswer), res.Body}
	return res, nil
}

// checkMount asks whether our engine is there and of version 2; a client of version 1 would find nothing and say so never.
func (s *vaultStore) checkMount(ctx context.Context) error {
	where := fmt.Sprintf("vault %s: mount %s", s.cfg.Address, s.cfg.Mount)
	res, err := s.client.Logical().ReadWithContext(ctx, "sys/internal/ui/mounts/"+s.cfg.Mount)
	if err != nil {
		if err = s.classify(err); errors.Is(err, ErrDenied) {
			return &Error{where, "is not there, or our policies grant nothing in it",
				"mount a KV version 2 engine there, and attach a policy for it", ErrDenied}
		}
		return err
	}
	kind, version := "", ""
	if res != nil {
		kind, _ = res.Data["type"].(string)
		if opts, ok := res.Data["options"].(map[string]any); ok {
			version, _ = opts["version"].(string)
		}
	}
	if kind != "kv" && kind != "generic" || version != "2" {
		return &Error{where, "is no KV engine of version 2", "enable one with: vault secrets enable -path=" + s.cfg.Mount + " kv-v2", nil}
	}
	return nil
}

func (s *vaultStore) dataPath(path string) string {
	return s.cfg.Mount + "/data/" + s.cfg.Prefix + "/" + path
}

func (s *vaultStore) metaPath(path string) string {
	return strings.TrimSuffix(s.cfg.Mount+"/metadata/"+s.cfg.Prefix+"/"+path, "/")
}

// do runs one request; if the token was refused, it logs in again and runs it once more.
func (s *vaultStore) do(ctx context.Context, f func(context.Context) error) error {
	s.mu.Lock()
	ended, generation := s.ended, s.token.generation
	s.mu.Unlock()
	if ended {
		return ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	err := f(ctx)
	if err == nil {
		return nil
	}
	err = s.classify(err)
	if !errors.Is(err, ErrDenied) {
		return err
	}
	if s.holds(ctx, generation) {
		return err
	}
	if lerr := s.logIn(ctx, generation); lerr != nil {
		return lerr
	}
	if err := f(ctx); err != nil {
		return s.classify(err)
	}
	return nil
}

// Get reads the newest version.
func (s *vaultStore) Get(ctx context.Context, path string) (map[string]string, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	var res *vaultapi.Secret
	if err := s.do(ctx, func(ctx context.Context) (err error) {
		res, err = s.client.Logical().ReadWithContext(ctx, s.dataPath(path))
		return err
	}); err != nil {
		return nil, err
	}
	if res == nil {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, path)
	}
	data, ok := res.Data["data"].(map[string]any)
	if !ok || len(data) == 0 { // its newest version is deleted
		return nil, fmt.Errorf("%w: %s", ErrNotFound, path)
	}
	out := make(map[string]string, len(data))
	for name, v := range data {
		text, ok := v.(string)
		if !ok {
			return nil, &Error{s.where(), "the value " + name + " of " + path + " is not a text", "write it as one", nil}
		}
		out[name] = text
	}
	return out, nil
}

// Put writes a new version.
func (s *vaultStore) Put(ctx context.Context, path string, v map[string]string) error {
	if err := checkSecret(path, v); err != nil {
		return err
	}
	data := make(map[string]any, len(v))
	for name, text := range v {
		data[name] = text
	}
	return s.do(ctx, func(ctx context.Context) error {
		_, err := s.client.Logical().WriteWithContext(ctx, s.dataPath(path), map[string]any{"data": data})
		return err
	})
}

// Delete removes all versions.
func (s *vaultStore) Delete(ctx context.Context, path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	return s.do(ctx, func(ctx context.Context) error {
		_, err := s.client.Logical().DeleteWithContext(ctx, s.metaPath(path))
		return err
	})
}

// List returns the names below prefix.
func (s *vaultStore) List(ctx context.Context, prefix string) ([]string, error) {
	prefix, err := checkPrefix(prefix)
	if err != nil {
		return nil, err
	}
	var res *vaultapi.Secret
	if err := s.do(ctx, func(ctx context.Context) (err error) {
		res, err = s.client.Logical().ListWithContext(ctx, s.metaPath(prefix))
		return err
	}); err != nil {
		return nil, err
	}
	if res == nil {
		return nil, nil
	}
	keys, _ := res.Data["keys"].([]any)
	var out []string
	for _, k := range keys {
		if name, ok := k.(string); ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Close ends the renewing. A token that we logged in for is revoked, if the server answers.
func (s *vaultStore) Close() error {
	s.closed.Do(func() {
		s.mu.Lock()
		s.ended = true
		s.mu.Unlock()
		s.stop()
		<-s.done
		if s.cfg.RoleID != "" {
			ctx, cancel := context.WithTimeout(context.Background(), min(s.cfg.Timeout, 2*time.Second))
			defer cancel()
			if err := s.client.Auth().Token().RevokeSelfWithContext(ctx, ""); err != nil {
				s.log.Debug("revoking our Vault token", "err", s.classify(err))
			}
		}
		s.client.ClearToken()
	})
	return nil
}

func (s *vaultStore) where() string { return "vault " + s.cfg.Address }

// classify turns an error of the client into one of ours. The client's own texts go over several lines and may repeat
// what a proxy answered; we say status and reason only.
func (s *vaultStore) classify(err error) error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	bad := func(kind error, remedy, format string, args ...any) error {
		return &Error{Where: s.where(), Problem: fmt.Sprintf(format, args...), Remedy: remedy, Kind: kind}
	}
	if re, ok := errors.AsType[*vaultapi.ResponseError](err); ok {
		switch {
		case re.StatusCode == 503 && mentions(re, "sealed"):
			return bad(ErrUnavailable, "unseal it", "is sealed")
		case re.StatusCode >= 500 || re.StatusCode == 429 || re.StatusCode == 472 || re.StatusCode == 473:
			return bad(ErrUnavailable, "see its log", "answers with status %d", re.StatusCode)
		case re.StatusCode == 403:
			return bad(ErrDenied, "check the token and its policies", "permission denied")
		}
		return bad(nil, "see its audit log", "refused the request with status %d", re.StatusCode)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("asking %s: %w", s.where(), context.Canceled)
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return bad(ErrUnavailable, "check that it runs and is reachable", "no answer in %v", s.cfg.Timeout)
	}
	if problem, ok := certificateProblem(err); ok {
		return bad(nil, "check ca_file, server_name and the server's certificate", "TLS: %s", problem)
	}
	return bad(ErrUnavailable, "check that it runs and is reachable", "%s", networkReason(err))
}

func mentions(re *vaultapi.ResponseError, word string) bool {
	return slices.ContainsFunc(re.Errors, func(text string) bool { return strings.Contains(strings.ToLower(text), word) })
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// certificateProblem says why the server's certificate was not taken: a fault that waiting does not mend.
func certificateProblem(err error) (string, bool) {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return strings.TrimPrefix(e.Err.Error(), "x509: "), true
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return strings.TrimPrefix(e.Error(), "x509: "), true
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return e.Msg, true
	}
	return "", false
}

// networkReason is the innermost text of a network failure, without the URL that stands around it.
func networkReason(err error) string {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return "name can't be resolved: " + e.Err
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Op + ": " + reason(e.Err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection was cut"
	}
	return "can't be reached"
}
