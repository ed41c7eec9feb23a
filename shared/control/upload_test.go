package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// sizes serves routes that take files: one that counts bytes, one that reads none of them, one that always fails.
func sizes(limit int64) *Server {
	s := NewServer(quiet())
	s.HandleUpload("PUT /files/{name}", limit, func(r *http.Request) (any, error) {
		n, err := io.Copy(io.Discard, r.Body)
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, Errorf(http.StatusRequestEntityTooLarge, "more than %d bytes", tooLarge.Limit)
		}
		return map[string]any{"name": r.PathValue("name"), "bytes": n}, err
	})
	s.HandleUpload("POST /refuse", limit, func(*http.Request) (any, error) { return nil, Errorf(http.StatusConflict, "not now") })
	s.HandleUpload("POST /fail", limit, func(r *http.Request) (any, error) {
		_, err := io.CopyN(io.Discard, r.Body, 10)
		return nil, errors.Join(err, errors.New("disk is full"))
	})
	s.Handle("POST /json", func(r *http.Request) (any, error) {
		var v string
		return v, Decode(r, &v)
	})
	return s
}

// zeros are n bytes that no memory holds.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestUpload(t *testing.T) {
	const limit = 8 * MaxBody // far more than JSON may have
	c, ctx := start(t, sizes(limit)), deadline(t)
	for _, n := range []int64{0, 1, MaxBody + 1, limit} {
		var got struct {
			Name  string
			Bytes int64
		}
		if err := c.Upload(ctx, "PUT", "/files/a%20b", zeros(n), &got); err != nil || got.Bytes != n || got.Name != "a b" {
			t.Errorf("%d bytes: %+v %v", n, got, err)
		}
	}
	for _, tc := range []struct {
		path   string
		body   io.Reader
		status int
		text   string
	}{
		{"/files/x", zeros(limit + 1), 413, fmt.Sprintf("more than %d bytes", limit)},
		{"/files/x", zeros(4 * limit), 413, "more than"},
		{"/files/x", io.MultiReader(strings.NewReader("a"), zeros(limit)), 413, "more than"},
		{"/refuse", strings.NewReader("a"), 409, "not now"},
		{"/refuse", zeros(limit), 409, "not now"}, // it is not read at all
		{"/fail", zeros(100), 500, "disk is full"},
		{"/json", bytes.NewReader(make([]byte, MaxBody+1)), 413, "larger than"},
		{"/nowhere", zeros(10), 404, "no such path"},
	} {
		method := "POST"
		if strings.HasPrefix(tc.path, "/files") {
			method = "PUT"
		}
		var e *Error
		if err := c.Upload(ctx, method, tc.path, tc.body, nil); !errors.As(err, &e) || e.Status != tc.status || !strings.Contains(e.Message, tc.text) || strings.Contains(e.Message, "\n") {
			t.Errorf("%s: %v, want %d %s", tc.path, err, tc.status, tc.text)
		}
	}
	var again struct{ Bytes int }
	if err := c.Upload(ctx, "PUT", "/files/x", strings.NewReader("abc"), &again); err != nil || again.Bytes != 3 {
		t.Errorf("after the refusals: %+v %v", again, err)
	}
}

// broken is a file that can be read in part.
type broken struct{ n int }

func (b *broken) Read(p []byte) (int, error) {
	if b.n--; b.n < 0 {
		return 0, errors.New("the disk is gone")
	}
	return copy(p, "some"), nil
}

// A file that can't be read to its end is an error on both sides: the program does not take the part for the whole.
func TestUploadBroken(t *testing.T) {
	took := make(chan error, 1)
	s := NewServer(quiet())
	s.HandleUpload("PUT /file", MaxBody, func(r *http.Request) (any, error) {
		_, err := io.Copy(io.Discard, r.Body)
		took <- err
		return nil, err
	})
	c := start(t, s)
	if err := c.Upload(deadline(t), "PUT", "/file", &broken{3}, nil); err == nil || err.Error() != "reading what is to be sent: the disk is gone" {
		t.Errorf("here: %v", err)
	}
	if err := <-took; err == nil {
		t.Error("no error there")
	}
	ctx, cancel := context.WithCancel(deadline(t))
	in, out := io.Pipe()
	go func() {
		_, _ = out.Write([]byte("some"))
		cancel()
	}()
	if err := c.Upload(ctx, "PUT", "/file", in, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := <-took; err == nil {
		t.Error("no error there when cancelled")
	}
	in.Close()
}

// A program listens before all of its parts have added their routes; the race detector looks on.
func TestRoutesWhileListening(t *testing.T) {
	s := NewServer(quiet())
	c, ctx := start(t, s), deadline(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50 {
			s.HandleUpload(fmt.Sprintf("PUT /file%d", i), MaxBody, func(r *http.Request) (any, error) {
				_, err := io.Copy(io.Discard, r.Body)
				return nil, err
			})
		}
	}()
	for i := range 50 {
		var e *Error
		if err := c.Upload(ctx, "PUT", fmt.Sprintf("/file%d", i), zeros(10), nil); err != nil && (!errors.As(err, &e) || e.Status != http.StatusNotFound) {
			t.Fatal(err)
		}
	}
	<-done
	if err := c.Upload(ctx, "PUT", "/file49", zeros(10), nil); err != nil {
		t.Error(err)
	}
}
