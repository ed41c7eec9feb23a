package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Bounds of the client.
const (
	maxAnswer     = 64 << 20 // bytes of an answer
	maxStreamLine = 4 << 20  // bytes of one line of a stream
)

// NotRunning says that nobody listens on the socket, or that we may not ask.
type NotRunning struct{ Path, Problem, Remedy string }

func (e *NotRunning) Error() string {
	return fmt.Sprintf("admin socket %s: %s; %s", e.Path, e.Problem, e.Remedy)
}

// Client talks to the program behind a socket. It is safe for several goroutines.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client for the socket at path. Nothing is opened until the first call.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: 5 * time.Second}
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableCompression: true, MaxIdleConns: 1, IdleConnTimeout: time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Do sends in as JSON (nil: no body) and reads the answer into out (nil: thrown away). An answer that is an error comes
// back as *Error. A ctx without a deadline gets one of 30 seconds.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, writeTimeout)
		defer cancel()
	}
	return c.do(ctx, method, path, in, out)
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	res, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer on %s: %w", c.path, err)
	}
	if out == nil {
		return nil
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = body
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("understanding the answer on %s: %w", c.path, err)
	}
	return nil
}

// Upload sends what body holds as it is, and reads the answer into out as Do does. It may take as long as ctx allows. A body that can
// be closed is.
func (c *Client) Upload(ctx context.Context, method, path string, body io.Reader, out any) error {
	from := &source{r: body}
	done := make(chan error, 1)
	go func() { done <- c.do(ctx, method, path, from, out) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done(): // the body may be a terminal that nobody types at: its reader can't be held back
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var answer *Error
	if broken := from.failed(); err != nil && broken != nil && !errors.As(err, &answer) {
		return fmt.Errorf("reading what is to be sent: %w", broken)
	}
	return err
}

// source is a reader that remembers why it failed. Whoever sends may go on reading while the answer is there already.
type source struct {
	r io.Reader

	mu  sync.Mutex
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return n, err
}

// Close lets a Read that waits return, where the reader can be closed.
func (s *source) Close() error {
	if c, ok := s.r.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (s *source) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Get is Do with GET and no body.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.Do(ctx, http.MethodGet, path, nil, out)
}

// Stream calls each for every line that comes, until the stream ends (nil), ctx does (its error) or each fails (its error).
func (c *Client) Stream(ctx context.Context, path string, each func(line json.RawMessage) error) error {
	res, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	sc := bufio.NewScanner(res.Body)
	sc.Buffer(make([]byte, 0, 64<<10), maxStreamLine)
	for sc.Scan() {
		line := sc.Bytes()
		if bytes.HasPrefix(line, []byte(`{"error":`)) {
			return streamError(line)
		}
		if err := each(append(json.RawMessage(nil), line...)); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("reading the stream on %s: %w", c.path, err)
	}
	return nil
}

// streamError is the error at the end of a stream.
func streamError(line []byte) error {
	var e struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return fmt.Errorf("understanding the end of the stream: %w", err)
	}
	return &Error{Status: http.StatusOK, Message: e.Error}
}

// send returns an answer whose status is good.
func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	body, kind := io.Reader(nil), ""
	switch in := in.(type) {
	case nil:
	case io.Reader:
		body, kind = in, "application/octet-stream"
	default:
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		body, kind = bytes.NewReader(data), "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://local"+Prefix+path, body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.dialError(ctx, err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, MaxBody))
	if err != nil {
		return nil, fmt.Errorf("reading the answer on %s: %w", c.path, err)
	}
	return nil, answerError(res.StatusCode, text)
}

func (c *Client) dialError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil:
		return &NotRunning{c.path, "no answer in time", "see the program's log"}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &NotRunning{c.path, "nobody listens on it", "start the program with serve, or name its socket with --socket"}
	case errors.Is(err, fs.ErrPermission):
		return &NotRunning{c.path, "no permission to open it", "run as the program's user, or as root"}
	}
	return &NotRunning{c.path, reason(err), "see the program's log"}
}
