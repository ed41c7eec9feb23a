package follow

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"brickhouse/sbc/internal/banlist"
	"brickhouse/shared/conffile"
	"brickhouse/shared/pki"
)

// web follows a URL.
type web struct {
	cfg            List
	kept           kept
	turn           turn
	clock          func() time.Time
	etag, modified string // of what was accepted last
}

// Bounds on what a server may say.
const (
	maxHeaders    = 64 << 10
	maxValidator  = 1024
	maxRedirects  = 3
	maxRetryAfter = 24 * time.Hour
	maxToken      = 4096
)

// name is the URL's host only: path and query may hold a key.
func (w *web) name() string {
	u, err := url.Parse(w.cfg.URL)
	if err != nil {
		return "url"
	}
	return u.Scheme + "://" + u.Host
}

func (w *web) forget() { w.etag, w.modified = "", "" }

// refused is an answer that is no list.
type refused struct {
	status string
	after  time.Duration // the server asks not to come back before; 0: it does not say
}

func (r refused) Error() string { return "the server answers " + r.status }

// Errors of a fetch, beside refused and those of banlist.
var (
	errRedirect = errors.New("the server sends us elsewhere; only https on the same host is followed")
	errEncoding = errors.New("the answer is compressed, though we asked for none")
)

func (w *web) look(ctx context.Context) (*content, error) {
	fetch, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	client, err := w.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	req, err := w.request(fetch, w.cfg.URL)
	if err != nil {
		return nil, err
	}
	w.ifChanged(req)
	resp, err := client.Do(req)
	if err != nil {
		return nil, w.plain(fetch, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified && (w.etag != "" || w.modified != "") {
		return nil, nil
	}
	if err := w.check(resp); err != nil {
		return nil, err
	}
	h, err := w.download(fetch, client, resp)
	var c *content
	if err == nil {
		c, err = w.parse(ctx, h)
	}
	if err != nil {
		os.Remove(w.kept.temp())
		return nil, w.plain(fetch, err)
	}
	return c, nil
}

// download writes the body, and the pages that follow it, to disk.
func (w *web) download(ctx context.Context, client *http.Client, resp *http.Response) (header, error) {
	f, err := w.kept.create()
	if err != nil {
		return header{}, err
	}
	defer f.Close()
	s := spool{out: f, hash: sha256.New(), most: w.cfg.MaxBytes}
	h := header{V: keptVersion, URL: sum(w.cfg.URL), Fetched: w.clock()}
	if w.cfg.Format == banlist.APIBAN {
		err = w.pages(ctx, client, resp, &s)
	} else {
		h.ETag, h.Modified = validator(resp, "ETag"), validator(resp, "Last-Modified")
		err = s.take(resp.Body)
	}
	if err == nil {
		err = ctx.Err() // a server that sees us hang up may still end its answer in form
	}
	h.Size, h.Sum = s.size, hex.EncodeToString(s.hash.Sum(nil))
	return h, err
}

// plain takes what may hold a key, the URL, off an error, and says which deadline it was.
func (w *web) plain(ctx context.Context, err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return fmt.Errorf("no whole answer within %s", w.cfg.Timeout)
	}
	return err
}

// client is for one fetch, whose caller closes idle connections: none is left behind, and a changed CA file counts at once. It
// heeds no proxy variables.
func (w *web) client() (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if w.cfg.CA != "" {
		roots, err := pki.Roots(w.cfg.CA, w.clock())
		if err != nil {
			return nil, err
		}
		conf.RootCAs = roots
	}
	dialer := &net.Dialer{Control: func(_, addr string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(addr)
		if err == nil && strings.HasPrefix(w.cfg.URL, "http:") && !to.Addr().Unmap().IsLoopback() {
			return errors.New("http goes to this machine only")
		}
		return err
	}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: conf, DisableCompression: true,
			MaxResponseHeaderBytes: maxHeaders, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects || req.URL.Scheme != "https" || via[0].URL.Scheme != "https" || req.URL.Host != via[0].URL.Host {
				return errRedirect
			}
			return nil
		},
	}, nil
}

func (w *web) request(ctx context.Context, url string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, w.plain(ctx, err)
	}
	req.Header.Set("User-Agent", "brickhouse-sbc")
	req.Header.Set("Accept-Encoding", "identity")
	if w.cfg.TokenFile != "" {
		token, err := readToken(w.cfg.TokenFile)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

// ifChanged asks for an answer only if it is another than the one that was accepted last.
func (w *web) ifChanged(req *http.Request) {
	if w.etag != "" {
		req.Header.Set("If-None-Match", w.etag)
	}
	if w.modified != "" {
		req.Header.Set("If-Modified-Since", w.modified)
	}
}

// readToken reads one word from a file that is closed to others.
func readToken(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the token: %w", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is no regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("%s is open to others (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" || len(data) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", fmt.Errorf("%s does not hold one token", path)
	}
	return token, nil
}

// check refuses an answer by its head.
func (w *web) check(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		r := refused{status: fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))}
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
			r.after = min(time.Duration(min(s, int(maxRetryAfter/time.Second)))*time.Second, maxRetryAfter)
		}
		return r
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch enc := resp.Header.Get("Content-Encoding"); {
	case enc != "" && enc != "identity":
		return errEncoding
	case kind == "text/html":
		return fmt.Errorf("%w: the server sends a web page", banlist.ErrGarbage)
	case resp.ContentLength > int64(w.cfg.MaxBytes):
		return fmt.Errorf("%w: over %s", banlist.ErrTooLarge, w.cfg.MaxBytes)
	}
	return nil
}

// spool is where bodies are written to, with a bound on all of them.
type spool struct {
	out  io.Writer
	hash hash.Hash
	size int64
	most conffile.Size
}

func (s *spool) take(body io.Reader) error {
	left := int64(s.most) - s.size
	n, err := io.Copy(io.MultiWriter(s.out, s.hash), io.LimitReader(body, left+1))
	s.size += n
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the connection ended after %d bytes", banlist.ErrTruncated, n)
	case err != nil:
		return err
	case n > left:
		return fmt.Errorf("%w: over %s", banlist.ErrTooLarge, s.most)
	}
	return nil
}

// validator is a header to send back with the next request.
func validator(resp *http.Response, name string) string {
	v := resp.Header.Get(name)
	if len(v) > maxValidator {
		return ""
	}
	return v
}

func (w *web) parse(ctx context.Context, h header) (*content, error) {
	if err := w.turn.take(ctx); err != nil {
		return nil, err
	}
	defer w.turn.give()
	f, err := os.Open(w.kept.temp())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, report, err := banlist.Parse(io.NewSectionReader(f, headerSize, h.Size), w.cfg.options())
	if err != nil {
		return nil, err
	}
	return &content{list, report, h.Fetched, func() error { return w.accept(h) }}, nil
}

func (w *web) accept(h header) error {
	w.etag, w.modified = h.ETag, h.Modified
	f, err := os.OpenFile(w.kept.temp(), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("keeping a copy: %w", err)
	}
	defer f.Close()
	return w.kept.commit(f, h)
}
