package admin

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/pbx/internal/database"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// Audit is what was changed, and the file that it is in.
type Audit interface {
	Audit(ctx context.Context, q database.Query) ([]database.Entry, error)
	BackUp(ctx context.Context, path string) error
}

// backupRequest is the body of POST /backup.
type backupRequest struct {
	File string `json:"file" doc:"Absolute path of a new file."`
}

func auditRoutes(s *control.Server, x Exchange) {
	control.Route(s, "GET /audit", control.Operation{
		ID: "listAudit", Summary: "Show what was changed, the newest first", Area: areaAudit,
		Queries: []control.Query{
			{Name: "since", Doc: "The first moment of interest, RFC 3339."}, {Name: "below", Doc: "Entries with a lower ID only: the next page."},
			{Name: "who", Doc: "Entries of one user or key only."}, {Name: "target", Doc: "Entries whose path begins so only."},
			{Name: "limit", Doc: "At most so many: 100 unless told otherwise, 1000 at most."},
		},
	}, func(r *http.Request, _ control.None) ([]database.Entry, error) {
		q, err := auditQuery(r.URL.Query())
		if err != nil {
			return nil, err
		}
		return x.Audit(r.Context(), q)
	})
	control.Route(s, "POST /backup", control.Operation{
		ID: "backUp", Summary: "Write a copy of the database to a new file on the machine", Area: areaAudit, Local: true,
	}, func(r *http.Request, req backupRequest) (done, error) {
		if !filepath.IsAbs(req.File) {
			return done{}, control.Errorf(http.StatusBadRequest, "give an absolute path")
		}
		err := x.BackUp(r.Context(), req.File)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			err = control.Errorf(http.StatusConflict, "%v", err)
		}
		return done{}, err
	})
}

func auditQuery(v url.Values) (q database.Query, err error) {
	q = database.Query{Who: v.Get("who"), Target: v.Get("target")}
	if q.Since, err = timeParameter(v, "since"); err != nil {
		return q, err
	}
	if s := v.Get("below"); s != "" {
		if q.Below, err = strconv.ParseInt(s, 10, 64); err != nil || q.Below < 1 {
			return q, control.Errorf(http.StatusBadRequest, "below: give the ID of an entry")
		}
	}
	q.Limit, err = limitParameter(v)
	return q, err
}

func auditList(a *command.Admin) *cobra.Command {
	var since time.Duration
	var who, target string
	var limit int
	c := &cobra.Command{Use: "list", Short: "Show what was changed, when and by whom, the newest first", Args: cobra.NoArgs}
	c.Flags().DurationVar(&since, "since", 0, "show the last `DURATION` only")
	c.Flags().StringVar(&who, "who", "", "show the changes of one `USER` or key only")
	c.Flags().StringVar(&target, "target", "", "show changes of what begins with `PATH` only, as /v1/extensions/1001")
	c.Flags().IntVar(&limit, "limit", usualRows, "show at most `COUNT`")
	c.RunE = func(c *cobra.Command, _ []string) error {
		q := url.Values{"limit": {strconv.Itoa(limit)}}
		if since > 0 {
			q.Set("since", time.Now().Add(-since).UTC().Format(time.RFC3339))
		}
		for name, v := range map[string]string{"who": who, "target": target} {
			if v != "" {
				q.Set(name, v)
			}
		}
		var list []database.Entry
		if err := a.Do(c.Context(), "GET", "/audit?"+q.Encode(), nil, &list); err != nil {
			return err
		}
		return a.Print(c, list, func() *control.Table {
			t := &control.Table{Columns: []string{"AT", "WHO", "FROM", "OPERATION", "TARGET", "BEFORE", "AFTER"}, Empty: "nothing was changed"}
			for _, e := range list {
				t.Add(moment(e.At), e.Who, e.From, e.Operation, e.Target, string(e.Before), string(e.After))
			}
			return t
		})
	}
	return c
}

func auditBackup(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Write a copy of the database (audit and keys) to a new file, while it is in use", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return command.Bad(err)
			}
			if err := a.Do(c.Context(), "POST", "/backup", backupRequest{path}, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"file": path}, "the database is backed up to %s", path)
		},
	}
}
