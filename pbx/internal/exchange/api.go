package exchange

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"brickhouse/pbx/internal/apikey"
	"brickhouse/pbx/internal/database"
	"brickhouse/pbx/internal/dialplan"
	"brickhouse/shared/cdr"
	"brickhouse/shared/conffile"
	"brickhouse/shared/control"
	"brickhouse/shared/listen"
	"brickhouse/shared/pki"
	"brickhouse/shared/transport"
)

// API is where programs ask, with a key, what people ask on the control socket.
type API struct {
	Listen      netip.AddrPort `yaml:"listen" doc:"Loopback address and port, TLS. Empty: programs can ask on the control socket only."`
	Certificate string         `yaml:"certificate" doc:"PEM. Read again on SIGHUP."`
	Key         string         `yaml:"key" doc:"Its private key, PEM, mode 0600."`
	Audit       int            `yaml:"audit" doc:"Days that changes are kept in the audit, those of the control socket and of the configuration files too."`
}

// databaseFile is the database in the state directory.
const databaseFile = "exchange.db"

// maxDays is the longest time that anything is kept for, but for ever.
const maxDays = 36500

// forgetEvery is how often what has been kept long enough is removed.
const forgetEvery = time.Hour

func (a *API) identity() listen.Identity {
	return listen.Identity{Certificate: a.Certificate, Key: a.Key}
}

func (a *API) check() []conffile.Fault {
	var fs []conffile.Fault
	if a.Audit < 1 || a.Audit > maxDays {
		fs = append(fs, conffile.Bad("api.audit", fmt.Sprintf("is not from 1 to %d days", maxDays), "leave it away"))
	}
	if !a.Listen.IsValid() {
		return fs
	}
	if !a.Listen.Addr().IsLoopback() || a.Listen.Port() == 0 {
		fs = append(fs, conffile.Bad("api.listen", fmt.Sprintf("%s is no port of a loopback address", a.Listen), "give it as 127.0.0.1:5075; a proxy on this machine can make it reachable from elsewhere"))
	}
	for _, f := range []struct{ key, file string }{{"certificate", a.Certificate}, {"key", a.Key}} {
		if f.file == "" {
			fs = append(fs, conffile.Bad("api."+f.key, "is missing", "name the PEM file; quickstart makes one"))
		}
	}
	return fs
}

// openDatabase opens what lasts and is asked for in many ways, and notes what the configuration files say now.
func (x *Exchange) openDatabase(ctx context.Context) error {
	var err error
	if x.database, err = database.Open(ctx, filepath.Join(x.cfg.State, databaseFile)); err != nil {
		return err
	}
	if x.keys, err = apikey.Open(ctx, x.database, x.log, x.now); err != nil {
		return err
	}
	if x.cfg.API.Listen.IsValid() {
		if x.apiCerts, err = x.cfg.API.identity().Load(pki.Server); err != nil {
			return fmt.Errorf("api: %w", err)
		}
	}
	return x.noteFiles(control.WithCaller(ctx, "program", "start"), &x.cfg)
}

// Serve takes the API into service: changes are audited, and who shows a key may ask (package main).
func (x *Exchange) Serve(s *control.Server) error {
	s.Audit(x.database.Note)
	x.areas = s.Areas
	if !x.cfg.API.Listen.IsValid() {
		return nil
	}
	conf := transport.ServerTLS(&tls.Config{GetCertificate: x.apiCerts.GetCertificate})
	if _, err := s.ListenTLS(x.cfg.API.Listen, conf, x.keys.Check); err != nil {
		return fmt.Errorf("api.listen: %w", err)
	}
	x.log.Info("the API is up", "listen", x.cfg.API.Listen.String())
	return nil
}

// forget removes what has been kept long enough, again and again until ctx ends.
func (x *Exchange) forget(ctx context.Context) {
	t := time.NewTicker(forgetEvery)
	defer t.Stop()
	for {
		if n, err := x.database.ForgetAudit(ctx, x.now().AddDate(0, 0, -x.cfg.API.Audit)); err != nil && ctx.Err() == nil {
			x.log.Error("forgetting old entries of the audit", "error", err)
		} else if n > 0 {
			x.log.Info("old entries of the audit are forgotten", "entries", n)
		}
		if x.cfg.KeepCDR > 0 {
			if n, err := cdr.Forget(x.cfg.cdrDir(), x.now().AddDate(0, 0, -x.cfg.KeepCDR)); err != nil {
				x.log.Error("forgetting old call records", "error", err)
			} else if n > 0 {
				x.log.Info("old call records are forgotten", "days", n)
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// noteFiles notes in the audit what the configuration files say, where that is another thing than it was.
func (x *Exchange) noteFiles(ctx context.Context, cfg *Config) error {
	var plan dialplan.File
	if err := conffile.Load(cfg.Dialplan, &plan); err != nil {
		return err
	}
	for name, v := range map[string]any{"configuration": cfg, "dialplan": plan} {
		doc, err := conffile.JSON(v)
		if err != nil {
			return fmt.Errorf("noting the %s: %w", name, err)
		}
		c := control.Change{At: x.now(), Who: control.Caller(ctx), From: control.Origin(ctx), Operation: "readFile", Target: name}
		if err := x.database.NoteFile(ctx, name, doc, c); err != nil {
			return fmt.Errorf("noting the %s: %w", name, err)
		}
	}
	return nil
}

// AddKey makes a key of the API (package admin).
func (x *Exchange) AddKey(ctx context.Context, name string, scopes []string, life time.Duration) (token string, _ database.Key, err error) {
	return x.keys.Add(ctx, name, scopes, x.areas(), life)
}

// Keys returns the keys of the API.
func (x *Exchange) Keys() []database.Key { return x.keys.List() }

// DeleteKey forgets a key of the API.
func (x *Exchange) DeleteKey(ctx context.Context, which string) (database.Key, error) {
	return x.keys.Delete(ctx, which)
}

// Audit returns what was changed, when and by whom.
func (x *Exchange) Audit(ctx context.Context, q database.Query) ([]database.Entry, error) {
	return x.database.Audit(ctx, q)
}

// BackUp writes a copy of the database to a new file.
func (x *Exchange) BackUp(ctx context.Context, path string) error {
	return x.database.Backup(ctx, path)
}

// RecordPage returns call detail records from a place on (cdr.Page).
func (x *Exchange) RecordPage(after string, q cdr.Query) (lines []cdr.Line, next string, err error) {
	return cdr.Page(x.cfg.cdrDir(), after, q)
}

// LatestRecords returns the last call detail records, the newest first.
func (x *Exchange) LatestRecords(q cdr.Query) ([]cdr.Line, error) {
	return cdr.Latest(x.cfg.cdrDir(), q)
}
