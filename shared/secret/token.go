package secret

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
)

// tokenState is what we know of the token in use.
//
//	logged in ──2/3 of ttl──► renew ──ok──► (as before)
//	    ▲                       │ refused, can't be renewed, or near its last end
//	    └──────── log in ◄──────┘            away: try again until it works, the cache serves meanwhile
type tokenState struct {
	generation int           // counts logins
	ttl        time.Duration // as the server granted it; 0: it never ends
	first      time.Duration // ttl after the login
	renewable  bool
}

// Bounds on the pauses between renewals.
const (
	minRenew   = 200 * time.Millisecond
	firstRetry = time.Second
	mostRetry  = 30 * time.Second
)

// logIn gets a token, unless somebody else did since the caller saw the given generation.
func (s *vaultStore) logIn(ctx context.Context, seen int) error {
	s.login.Lock()
	defer s.login.Unlock()
	if s.state().generation != seen {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	var next tokenState
	var err error
	if s.cfg.TokenFile != "" {
		next, err = s.useTokenFile(ctx)
	} else {
		next, err = s.useAppRole(ctx)
	}
	if err != nil {
		return err
	}
	next.generation, next.first = seen+1, next.ttl
	s.setState(next)
	s.log.Debug("logged in to Vault", "ttl", next.ttl, "renewable", next.renewable)
	return nil
}

func (s *vaultStore) state() tokenState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// holds reports whether the token of that generation is still good: a 403 is both "token ended" and "policy says no", and only a lookup of the token
// can tell them apart. While somebody logs in it waits, so as not to look up another token.
func (s *vaultStore) holds(ctx context.Context, generation int) bool {
	s.login.Lock()
	defer s.login.Unlock()
	if s.state().generation != generation {
		return false
	}
	_, err := s.client.Auth().Token().LookupSelfWithContext(ctx)
	return err == nil
}

func (s *vaultStore) setState(t tokenState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = t
}

// useTokenFile takes the token that the operator, or an agent, put into a file.
func (s *vaultStore) useTokenFile(ctx context.Context) (tokenState, error) {
	token, err := readLine(s.cfg.TokenFile)
	if err != nil {
		return tokenState{}, err
	}
	s.client.SetToken(token)
	res, err := s.client.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil {
		if err = s.classify(err); errors.Is(err, ErrDenied) {
			return tokenState{}, &Error{s.where(), "the token in " + s.cfg.TokenFile + " is refused", "write a valid one into the file", ErrDenied}
		}
		return tokenState{}, err
	}
	ttl, err := res.TokenTTL()
	if err != nil {
		return tokenState{}, &Error{s.where(), "its answer about the token is not understood", "check that it is a Vault server", nil}
	}
	renewable, err := res.TokenIsRenewable()
	return tokenState{ttl: ttl, renewable: err == nil && renewable}, nil
}

// useAppRole logs in with RoleID and SecretID.
func (s *vaultStore) useAppRole(ctx context.Context) (tokenState, error) {
	secretID, err := readLine(s.cfg.SecretIDFile)
	if err != nil {
		return tokenState{}, err
	}
	res, err := s.client.Logical().WriteWithContext(ctx, "auth/"+s.cfg.AppRoleMount+"/login",
		map[string]any{"role_id": s.cfg.RoleID, "secret_id": secretID})
	if err != nil {
		if loginRefused(err) {
			return tokenState{}, &Error{s.where(), "the AppRole login is refused",
				"check role_id, the SecretID in " + s.cfg.SecretIDFile + " and the mount " + s.cfg.AppRoleMount, ErrDenied}
		}
		return tokenState{}, s.classify(err)
	}
	if res == nil || res.Auth == nil || res.Auth.ClientToken == "" {
		return tokenState{}, &Error{s.where(), "the AppRole login gives no token", "check the mount " + s.cfg.AppRoleMount, nil}
	}
	s.client.SetToken(res.Auth.ClientToken)
	return tokenState{ttl: time.Duration(res.Auth.LeaseDuration) * time.Second, renewable: res.Auth.Renewable}, nil
}

// loginRefused tells a refused login from a server that can't answer. Some versions refuse with status 500.
func loginRefused(err error) bool {
	re, ok := errors.AsType[*vaultapi.ResponseError](err)
	return ok && (re.StatusCode < 429 || re.StatusCode == 500 && (mentions(re, "invalid secret id") || mentions(re, "invalid role")))
}

// readLine reads a secret of one line from a file that is closed to others.
func readLine(path string) (string, error) {
	data, err := readPrivate(path, 4096)
	if err != nil {
		return "", err
	}
	line := strings.TrimSpace(string(data))
	if line == "" || strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", &Error{Where: path, Problem: "does not hold one line of text", Remedy: "write the token or SecretID into it, and nothing else"}
	}
	return line, nil
}

// keepToken renews the token until ctx ends.
func (s *vaultStore) keepToken(ctx context.Context) {
	defer close(s.done)
	retry := time.Duration(0)
	for {
		st := s.state()
		wait := st.ttl * 2 / 3
		switch {
		case retry > 0:
			wait = retry
		case st.ttl == 0:
			wait = time.Hour // it never ends; the login may be changed meanwhile
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(wait, minRenew)):
		}
		if s.state().generation != st.generation || st.ttl == 0 {
			retry = 0
			continue // a request logged in meanwhile
		}
		err := s.prolong(ctx, st)
		switch {
		case err == nil:
			retry = 0
		case ctx.Err() != nil:
			return
		default:
			retry = min(max(2*retry, min(firstRetry, st.ttl/10)), mostRetry)
			s.log.Warn("renewing the Vault token", "err", err, "again_in", retry)
		}
	}
}

// prolong renews the token, or logs in again when that is refused or gives less than half of what the login gave: then
// the token nears the end that no renewal moves.
func (s *vaultStore) prolong(ctx context.Context, st tokenState) error {
	if st.renewable {
		rctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
		res, err := s.client.Auth().Token().RenewSelfWithContext(rctx, 0)
		cancel()
		if err != nil {
			if err = s.classify(err); errors.Is(err, ErrUnavailable) {
				return err
			}
		}
		if err == nil {
			if next, ok := renewed(st, res); ok {
				s.setState(next)
				return nil
			}
		}
	}
	if err := s.logIn(ctx, st.generation); err != nil {
		return fmt.Errorf("logging in again: %w", err)
	}
	return nil
}

func renewed(st tokenState, res *vaultapi.Secret) (tokenState, bool) {
	if res == nil || res.Auth == nil {
		return st, false
	}
	st.ttl = time.Duration(res.Auth.LeaseDuration) * time.Second
	st.renewable = res.Auth.Renewable
	return st, st.ttl*2 >= st.first
}
