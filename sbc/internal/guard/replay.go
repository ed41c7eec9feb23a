package guard

import (
	"context"
	"io"
	"iter"

	"brickhouse/sbc/internal/score"
)

// Replayed tells who would have been banned, before and after.
type Replayed = score.Report

// Scoring is the part of the configuration that decides about offences. It is a copy: changing it changes nothing.
func (c Config) Scoring() score.Config {
	return score.Config{Rules: c.Rules, Breaker: c.Breaker, Hold: c.Hold, MaxScores: c.MaxScores, Evidence: c.Evidence}.Clone()
}

// Scoring is what decides about offences now: what Replay compares with, and what to change for it.
func (g *Guard) Scoring() score.Config {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cfg.Scoring()
}

// Replay runs recorded offences through what decides about them now, and through after, and tells who would have been banned. from is
// a recording; nil stands for the guard's own. A wrong after is a score.Fault. It ends early when ctx does.
func (g *Guard) Replay(ctx context.Context, after score.Config, from io.Reader) (Replayed, error) {
	if from == nil {
		own, closeAll, err := g.recording(ctx)
		if err != nil {
			return Replayed{}, err
		}
		defer closeAll()
		from = own
	}
	return score.Replay(until(ctx, score.Records(from)), g.Scoring(), after)
}

// recording is all that the guard has recorded up to now.
func (g *Guard) recording(ctx context.Context) (r io.Reader, closeAll func(), err error) {
	rec := g.scoring.recorder
	synced := make(chan struct{})
	select {
	case rec.queue <- queued{synced: synced}:
		select {
		case <-synced:
		case <-rec.done:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	case <-rec.done:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	files, err := rec.files()
	if err != nil {
		return nil, nil, err
	}
	readers := make([]io.Reader, 0, len(files))
	for _, f := range files {
		readers = append(readers, f)
	}
	return io.MultiReader(readers...), func() {
		for _, f := range files {
			f.Close()
		}
	}, nil
}

// until ends records with the error of ctx when it is done.
func until(ctx context.Context, records iter.Seq2[score.Record, error]) iter.Seq2[score.Record, error] {
	return func(yield func(score.Record, error) bool) {
		for r, err := range records {
			if e := ctx.Err(); e != nil {
				yield(r, e)
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}
