package border

import (
	"fmt"
	"iter"
	"path/filepath"
	"time"

	"brickhouse/sbc/internal/regcache"
	"brickhouse/sbc/internal/regstore"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
)

// registrationsFile is in the state directory.
const registrationsFile = "registrations.jsonl"

// restore brings back what a run before knew of registrations: phones over UDP are reachable at once, and where phones over
// connections were registered, which come back by themselves, an office is still known to the guard.
func (b *Border) restore() error {
	store, rows, err := regstore.Open(filepath.Join(b.cfg.State, registrationsFile), b.cfg.Limits.Bindings, b.log)
	if err != nil {
		return err
	}
	b.saved = store
	now, back := b.now(), 0
	for _, row := range rows {
		switch {
		case !now.Before(row.Inside):
		case row.Flow == "":
			if row.Proven && row.Life <= longestExpiry {
				b.known.Known(row.Source, row.AOR, now.Add(row.Life))
			}
		case b.rebind(row, now):
			back++
		}
	}
	store.Live(b.savedRows)
	if back > 0 {
		b.log.Info("registrations are back", "phones", back)
	}
	return nil
}

// rebind puts a binding over UDP into the cache again. The phone has one period to refresh, whatever time it was away.
func (b *Border) rebind(row regstore.Row, now time.Time) bool {
	uri, err := sipmsg.ParseURI(row.Contact)
	if err != nil {
		return false
	}
	flow := b.flowOf(row.Interface, row.Flow)
	if flow == nil || row.Life <= 0 || row.Life > longestExpiry {
		return false
	}
	bound := regcache.Binding{
		Token: row.Token, AOR: row.AOR, Contact: uri, Params: row.Params, Flow: flow, Proven: row.Proven, Outbound: row.Outbound,
		CallID: row.CallID, CSeq: row.CSeq, Life: row.Life, Expires: now.Add(row.Life), Inside: row.Inside,
	}
	if err := b.cache.Put(bound); err != nil {
		return false
	}
	if row.Proven {
		b.tellKnown(flow.Remote().Addr(), row.AOR)
	}
	return true
}

// flowOf finds a UDP flow by the name of its interface and its own; nil if there is none any more.
func (b *Border) flowOf(name, id string) *transport.Flow {
	for _, i := range b.realms[access].interfaces {
		if i.Name() != name || i.Network() != transport.UDP {
			continue
		}
		if f, ok := i.Flow(id); ok {
			return f
		}
	}
	return nil
}

// save writes down what the cache holds by now of a token. Two changes may be written in another order than they happened,
// and the last word is right. What goes when we stop stays written: the phones will be back.
func (b *Border) save(token string) {
	b.saving.Lock()
	defer b.saving.Unlock()
	if b.closing.Err() != nil || b.saved == nil {
		return
	}
	var err error
	if bound := b.cache.Lookup(token); bound != nil {
		err = b.saved.Put(savedRow(bound))
	} else {
		err = b.saved.Remove(token)
	}
	if err != nil {
		b.log.Error("registration is not saved; it would be lost in a crash", "error", err)
	}
}

// savedRows is everything that counts.
func (b *Border) savedRows() iter.Seq[regstore.Row] {
	return func(yield func(regstore.Row) bool) {
		for _, bound := range b.cache.All() {
			if !yield(savedRow(bound)) {
				return
			}
		}
	}
}

func savedRow(bound *regcache.Binding) regstore.Row {
	f := bound.Flow
	row := regstore.Row{
		Token: bound.Token, AOR: bound.AOR, Contact: bound.Contact.String(), Params: bound.Params, Interface: f.Interface().Name(),
		Source: f.Remote().Addr(), Proven: bound.Proven, Outbound: bound.Outbound,
		CallID: bound.CallID, CSeq: bound.CSeq, Life: bound.Life, Inside: bound.Inside,
	}
	if !f.Reliable() {
		row.Flow = f.ID()
	}
	return row
}

// closeSaved ends the file of registrations.
func (b *Border) closeSaved() {
	if b.saved == nil {
		return
	}
	if err := b.saved.Close(); err != nil {
		b.log.Error("closing the registrations", "error", fmt.Errorf("%s: %w", registrationsFile, err))
	}
}
