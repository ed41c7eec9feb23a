package follow

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"brickhouse/sbc/internal/banlist"
)

// APIBAN gives its list in pages of some hundred addresses. Each ends with an ID; what comes behind it is asked for by the same
// URL with /ID behind, until the ID is "none" or the answer says that there is nothing new. Only whole walks make a list.

// Bounds on pages.
const (
	maxPages = 1000
	maxPage  = 1 << 20 // bytes
	maxID    = 32
)

// noMore is what APIBAN says behind the last page, with status 400.
var noMore = []byte("no new bans")

// pages takes the page in first and those that follow it.
func (w *web) pages(ctx context.Context, client *http.Client, first *http.Response, s *spool) error {
	page, err := readPage(first)
	seen := ""
	for n := 0; err == nil; n++ {
		if n == maxPages {
			return fmt.Errorf("%w: over %d pages", banlist.ErrTooLarge, maxPages)
		}
		if err := s.take(bytes.NewReader(append(page, '\n'))); err != nil {
			return err
		}
		var id string
		if id, err = banlist.Cursor(bytes.NewReader(page)); err != nil {
			return err
		}
		if !isNumber(id) || id == seen {
			return nil // "none"; what is no page at all the parser refuses
		}
		seen = id
		if page, err = w.page(ctx, client, id); page == nil && err == nil {
			return nil
		}
	}
	return err
}

// page fetches what comes behind id; nil if there is nothing.
func (w *web) page(ctx context.Context, client *http.Client, id string) ([]byte, error) {
	u, err := url.Parse(w.cfg.URL)
	if err != nil {
		return nil, w.plain(ctx, err)
	}
	req, err := w.request(ctx, u.JoinPath(id).String())
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		if err := w.check(resp); err != nil {
			return nil, err
		}
	}
	page, err := readPage(resp)
	switch {
	case err != nil:
		return nil, err
	case bytes.Contains(page, noMore):
		return nil, nil
	}
	return page, w.check(resp)
}

func readPage(resp *http.Response) ([]byte, error) {
	page, err := io.ReadAll(io.LimitReader(resp.Body, maxPage+1))
	if err == nil && len(page) > maxPage {
		err = fmt.Errorf("%w: a page over %d bytes", banlist.ErrTooLarge, maxPage)
	}
	return page, err
}

func isNumber(id string) bool {
	for i := range len(id) {
		if id[i] < '0' || id[i] > '9' {
			return false
		}
	}
	return id != "" && len(id) <= maxID
}
