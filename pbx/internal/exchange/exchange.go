// Package exchange is the whole PBX: its configuration, its road, its life.
//
// It knows who is who: extensions and their passwords, where their phones are, what a number means, which carrier takes
// it. Phones on the inside reach it directly; everything from outside comes through the border, over one mutually
// authenticated link, and goes out the same way.
package exchange

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"brickhouse/pbx/internal/apikey"
	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/database"
	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/events"
	"brickhouse/pbx/internal/media"
	"brickhouse/pbx/internal/music"
	"brickhouse/pbx/internal/pin"
	"brickhouse/pbx/internal/prompt"
	"brickhouse/pbx/internal/registrar"
	"brickhouse/pbx/internal/store"
	"brickhouse/pbx/internal/voicemail"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/cdr"
	"brickhouse/shared/conffile"
	"brickhouse/shared/corelink"
	"brickhouse/shared/listen"
	"brickhouse/shared/pki"
	"brickhouse/shared/secret"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/state/natslog"
	"brickhouse/shared/telemetry"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Times and bounds of the exchange's own work.
const (
	expireEvery    = time.Second     // sweep of expired bindings, and of calls that have used up their minutes
	hangupPatience = 2 * time.Second // how long Close waits for the answers to its BYEs
	maxAside       = 1024            // requests that wait for a disk or a secret at a time; more get 503
)

// Exchange is a running PBX.
type Exchange struct {
	cfg        Config
	log        *slog.Logger
	metrics    *Metrics
	domains    map[string]bool
	limits     sipmsg.Limits
	borderLegs *b2bua.LegPolicy     // of legs that go through the border
	workers    *transaction.Workers // what must not hold up a reader

	database *database.Database
	keys     *apikey.Ring
	areas    func() []string // of the API
	secrets  *secret.Cache
	accounts *accounts
	store    *store.Store
	cdr      *cdr.Writer
	media    *media.Engine
	prompts  *prompt.Library
	music    *music.Piece

	partyPINs, leaderPINs *pin.Keeper // of conference rooms

	voicemail *voicemail.Boxes
	auth      *registrar.Authenticator
	registrar *registrar.Registrar
	tx        *transaction.Layer
	engine    *b2bua.Engine
	calls     *callcontrol.Control
	events    *events.Notifier
	border    atomic.Pointer[transport.Flow] // the core link, as the border last used it

	apiCerts     *transport.Certificates
	coreCerts    *transport.Certificates
	phoneCerts   *listen.Credentials // nil where no phone connects over TLS
	core, phones []*transport.Interface

	accountsAway []*trunkAccount // that we have at carriers

	closing context.Context // ends with Close
	stop    context.CancelFunc
	running sync.Mutex // held by Run
}

// New makes an exchange from its configuration: it opens the secrets, reads its state back, and binds every socket. An
// error names the key, file or address at fault, and nothing is left open.
func New(ctx context.Context, cfg Config, log *slog.Logger, m *telemetry.Metrics) (*Exchange, error) {
	x := &Exchange{
		cfg: cfg, log: log, metrics: NewMetrics(m), limits: sipmsg.DefaultLimits(),
		domains: map[string]bool{},
	}
	x.closing, x.stop = context.WithCancel(context.Background())
	x.workers = transaction.NewWorkers(maxAside, log)
	for _, d := range append([]string{cfg.Domain}, cfg.Aliases...) {
		x.domains[strings.ToLower(d)] = true
	}
	if err := x.build(ctx); err != nil {
		x.Close()
		return nil, err
	}
	x.gauges(m)
	listen.Serve(x.core)
	listen.Serve(x.phones)
	return x, nil
}

// build makes the rooms, from the ground up: secrets, state, media, calls, sockets.
func (x *Exchange) build(ctx context.Context) error {
	if err := Check(&x.cfg); err != nil { // before anything that may have to wait for a Vault server
		return err
	}
	plan, sounds, err := loadSaid(&x.cfg)
	if err != nil {
		return err
	}
	x.prompts = prompt.NewLibrary(sounds)
	x.warnHomeless(plan)
	if err := x.openState(ctx); err != nil {
		return err
	}
	if x.media, err = media.New(x.cfg.Media.Config, x.log); err != nil {
		return fmt.Errorf("media: %w", err)
	}
	if x.music, err = music.Load(x.cfg.Music); err != nil {
		return err
	}
	if x.voicemail, err = x.openMailboxes(); err != nil {
		return fmt.Errorf("voicemail: %w", err)
	}
	if x.auth, err = x.newAuthenticator(); err != nil {
		return err
	}
	if x.registrar, err = x.newRegistrar(); err != nil {
		return err
	}
	timers := transaction.DefaultTimers()
	x.tx = transaction.New(timers, x, x.log)
	x.borderLegs = x.borderPolicy()
	x.engine = b2bua.New(b2bua.Config{Transactions: x.tx, Timers: timers, Log: x.log, MaxCalls: x.cfg.Limits.Calls, Session: x.cfg.Session.Timers()})
	trunks, err := x.trunks(ctx)
	if err != nil {
		return err
	}
	x.accountsAway = x.trunkAccounts()
	x.partyPINs, x.leaderPINs = x.roomPINs()
	x.calls = callcontrol.New(callcontrol.Config{
		Domain: x.cfg.Domain, Node: node, Ring: x.cfg.Limits.Ring, Engine: x.engine, Transactions: x.tx, Store: x.store, CDR: x.cdr, Media: x.media,
		Voicemail: x.voicemail, Music: x.music, HoldMusic: x.cfg.Music.OnHold, Prompts: x.prompts, RoomPINs: callcontrol.RoomPINs{Party: x.partyPINs, Leader: x.leaderPINs}, Lines: lines{x}, Phones: x.phonePolicy(), Border: x.borderLegs, Trunks: trunks, Dialplan: plan,
		Serves: func(host string) bool { return x.domains[host] }, Denied: x.metrics.denied.Inc, Log: x.log, Now: x.now,
	})
	x.events = x.newEvents()
	return x.listen()
}

// node is this exchange's name in its state. With several machines each will have its own.
const node = "solo"

// openState opens what outlives a restart.
func (x *Exchange) openState(ctx context.Context) error {
	if err := os.MkdirAll(x.cfg.State, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	if err := x.openDatabase(ctx); err != nil {
		return err
	}
	var err error
	if x.secrets, err = openSecrets(ctx, x.cfg.Secrets, x.log); err != nil {
		return err
	}
	if x.store, err = OpenStore(ctx, x.cfg.State, x.log); err != nil {
		return err
	}
	x.accounts = &accounts{x.store, x.secrets}
	x.warm(ctx)
	w, recovered, err := cdr.Open(x.cfg.cdrDir(), x.now)
	if err != nil {
		return fmt.Errorf("opening the call records: %w", err)
	}
	x.cdr = w
	for _, r := range recovered {
		x.log.Warn("call was cut by a crash; its record is closed", "call", r.ID, "trace", r.Trace, "caller", r.Caller, "dialled", r.Dialled)
	}
	if err := x.settleOldCalls(ctx, recovered); err != nil {
		return err
	}
	return x.dropOldCalls(ctx)
}

// warm reads all passwords, so that phones can log in while the secret store is away.
func (x *Exchange) warm(ctx context.Context) {
	for _, prefix := range []string{extensionSecrets, trunkSecrets} {
		if _, err := x.secrets.Preload(ctx, prefix); err != nil {
			x.log.Warn("passwords can't be read ahead", "prefix", prefix, "error", err)
		}
	}
}

// OpenStore opens the exchange's state in its directory. The caller closes it.
func OpenStore(ctx context.Context, dir string, log *slog.Logger) (*store.Store, error) {
	changes, err := natslog.Open(natslog.Config{
		Dir: filepath.Join(dir, "log"), Node: node, Tables: store.Tables(), Linger: store.Linger(), Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the state in %s: %w", dir, err)
	}
	opts := store.DefaultOptions()
	opts.Log = log
	s, err := store.Open(ctx, changes, opts)
	if err != nil {
		return nil, fmt.Errorf("reading the state in %s: %w", dir, err)
	}
	return s, nil
}

// dropOldCalls forgets the calls of the process before this one: their dialogs died with it, their records are closed.
func (x *Exchange) dropOldCalls(ctx context.Context) error {
	for _, c := range x.store.Calls() {
		if _, err := x.store.DeleteCall(ctx, c.ID); err != nil {
			return fmt.Errorf("forgetting a call of the last run: %w", err)
		}
	}
	return nil
}

// settleOldCalls ends the external calls of the process before this one, when their records say so.
func (x *Exchange) settleOldCalls(ctx context.Context, recovered []cdr.Record) error {
	ended := map[string]time.Time{}
	for _, r := range recovered {
		ended[r.ID] = r.End
	}
	err := x.store.SettleAll(ctx, func(t *store.Toll) time.Time {
		id, _, _ := strings.Cut(t.ID, "/")
		if at, ok := ended[id]; ok && !at.IsZero() {
			return at
		}
		return t.Started
	})
	if err != nil {
		return fmt.Errorf("settling the external calls of the last run: %w", err)
	}
	return nil
}

// listen binds the sockets: the core link's and the phones'.
func (x *Exchange) listen() error {
	limits := transport.DefaultLimits()
	limits.MaxConnections = x.cfg.Limits.Connections
	if x.cfg.Core.Listen.IsValid() {
		if err := x.listenCore(limits); err != nil {
			return err
		}
	}
	var err error
	if x.phoneCerts, err = listen.Certificates("phones", x.cfg.Phones.Interfaces, x.cfg.Phones.TLS); err != nil {
		return err
	}
	base := transport.Config{Limits: limits, Log: x.log, ClientTLS: phoneTLS, Undelivered: x.tx.Undelivered}
	x.phones, err = listen.Open("phones", x.cfg.Phones.Interfaces, x.phoneCerts, base, &side{x: x})
	return err
}

// listenCore binds the core link. Who has no certificate of the configured authority with the border's name is refused
// in the handshake.
func (x *Exchange) listenCore(limits transport.Limits) error {
	limits.SendQueue = corelink.SendQueue
	c := x.cfg.Core
	var err error
	if x.coreCerts, err = c.identity().Load(pki.Server); err != nil {
		return fmt.Errorf("core: %w", err)
	}
	pool, err := pki.Roots(c.CA, x.now())
	if err != nil {
		return fmt.Errorf("core.ca: %w", err)
	}
	conf := transport.ServerTLS(&tls.Config{
		GetCertificate: x.coreCerts.GetCertificate, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		VerifyConnection: func(cs tls.ConnectionState) error { return cs.PeerCertificates[0].VerifyHostname(c.Border) },
	})
	i, err := transport.Listen(transport.Config{
		Name: "core", Network: transport.TLS, Listen: c.Listen, TLS: func() *tls.Config { return conf },
		TrustHandshake: true, Limits: limits, Log: x.log,
	}, &side{x: x, core: true})
	if err != nil {
		return fmt.Errorf("core.listen: %w", err)
	}
	x.core = []*transport.Interface{i}
	return nil
}

// loadDialplan reads and compiles the dialplan.
func loadDialplan(cfg *Config) (*dialplan.Plan, error) {
	var f dialplan.File
	if err := conffile.Load(cfg.Dialplan, &f); err != nil {
		return nil, err
	}
	p, err := dialplan.Compile(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Dialplan, err)
	}
	return p, cfg.checkDialplan(p)
}

// loadSaid is loadDialplan, with the prompts.
func loadSaid(cfg *Config) (*dialplan.Plan, prompt.Set, error) {
	plan, err := loadDialplan(cfg)
	if err != nil {
		return nil, nil, err
	}
	sounds, err := prompt.Load(cfg.Prompts, plan.Prompts()...)
	return plan, sounds, err
}

// Check reads everything that the configuration names, without starting anything.
func Check(cfg *Config) error {
	_, _, err := loadSaid(cfg)
	errs := []error{err}
	if cfg.Core.Listen.IsValid() {
		if _, err := cfg.Core.identity().Load(pki.Server); err != nil {
			errs = append(errs, fmt.Errorf("core: %w", err))
		}
		if _, err := pki.Roots(cfg.Core.CA, time.Now()); err != nil {
			errs = append(errs, fmt.Errorf("core.ca: %w", err))
		}
	}
	if cfg.API.Listen.IsValid() {
		if _, err := cfg.API.identity().Load(pki.Server); err != nil {
			errs = append(errs, fmt.Errorf("api: %w", err))
		}
	}
	_, err = music.Load(cfg.Music)
	errs = append(errs, err)
	_, err = listen.Certificates("phones", cfg.Phones.Interfaces, cfg.Phones.TLS)
	return errors.Join(append(errs, err)...)
}

// Run serves until ctx ends.
func (x *Exchange) Run(ctx context.Context) {
	x.running.Lock()
	defer x.running.Unlock()
	if x.closing.Err() != nil { // closed before Run began
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(x.closing, cancel)()
	var beside sync.WaitGroup
	defer beside.Wait()
	if x.cfg.Mail.Server != "" {
		beside.Go(func() { x.voicemail.Mail(ctx) })
	}
	beside.Go(func() { x.keys.Run(ctx) })
	beside.Go(func() { x.forget(ctx) })
	for _, a := range x.accountsAway {
		beside.Go(func() { a.run(ctx) })
	}
	t := time.NewTicker(expireEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if _, err := x.store.Expire(ctx, x.now()); err != nil && ctx.Err() == nil {
				x.log.Error("expiring registrations", "error", err)
			}
			x.events.Sweep(x.now())
			if err := x.calls.EndOverdrawn(ctx); err != nil && ctx.Err() == nil {
				x.log.Error("ending calls that have used up their minutes", "error", err)
			}
		}
	}
}

// Close hangs up what is left, writes its records, and closes everything.
func (x *Exchange) Close() {
	if x.engine != nil {
		x.engine.Finish(x.cfg.Limits.Drain)
		x.engine.Close(hangupPatience)
	}
	x.stop()
	x.running.Lock()
	defer x.running.Unlock()
	listen.Close(x.core)
	listen.Close(x.phones)
	if x.tx != nil {
		x.tx.Close()
	}
	x.workers.Wait()
	if x.media != nil {
		x.media.Close()
	}
	var errs []error
	if x.cdr != nil {
		errs = append(errs, x.cdr.Close())
	}
	if x.store != nil {
		errs = append(errs, x.store.Close())
	}
	if x.database != nil {
		errs = append(errs, x.database.Close())
	}
	if x.secrets != nil {
		errs = append(errs, x.secrets.Close())
	}
	if err := errors.Join(errs...); err != nil {
		x.log.Error("closing", "error", err)
	}
}

// Reload takes what can be taken from a new configuration without ending a call: certificates, the dialplan and
// prompts. On an error everything stays as it was. What the files say is noted in the audit, for the caller in ctx.
func (x *Exchange) Reload(ctx context.Context, cfg Config) error {
	var errs []error
	var take []func()
	if x.apiCerts != nil {
		use, err := x.apiCerts.Prepare()
		errs, take = append(errs, err), append(take, use)
	}
	if x.coreCerts != nil {
		use, err := x.coreCerts.Prepare()
		errs, take = append(errs, err), append(take, use)
	}
	if x.phoneCerts != nil {
		use, err := x.phoneCerts.Prepare()
		errs, take = append(errs, err), append(take, use)
	}
	said := cfg
	cfg.Trunks = x.cfg.Trunks // other trunks take a restart
	plan, sounds, err := loadSaid(&cfg)
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	if err := x.noteFiles(ctx, &said); err != nil {
		return err
	}
	for _, use := range take {
		use()
	}
	x.prompts.Replace(sounds)
	x.calls.SetDialplan(plan)
	x.warnHomeless(plan)
	return nil
}

// Calls describes the calls in hand.
func (x *Exchange) Calls() []b2bua.Info { return x.engine.Calls() }

// Records returns the calls of an ID or a trace with their ladders, those in hand and the last ones that are over.
func (x *Exchange) Records(id string) []b2bua.Record { return x.engine.Records(id) }

// Drain makes us take no new calls, or take them again.
func (x *Exchange) Drain(on bool) { x.engine.Drain(on) }

// Draining reports whether no new calls are taken.
func (x *Exchange) Draining() bool { return x.engine.Draining() }

// Hangup ends a call.
func (x *Exchange) Hangup(id string) bool { return x.engine.End(id, verdict.NormalClearing) }

// Store returns the exchange's state, for the commands.
func (x *Exchange) Store() *store.Store { return x.store }

func (x *Exchange) now() time.Time { return time.Now() }
