package memlog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"brickhouse/shared/state"
	"brickhouse/shared/state/memlog"
	"brickhouse/shared/state/statetest"
)

func TestContract(t *testing.T) {
	statetest.Run(t, func(*testing.T) statetest.Opener {
		disk := memlog.NewDisk()
		return func(node state.NodeID) (state.Log, error) {
			l, err := disk.Open(node, statetest.Tables()...)
			if err != nil {
				return nil, err
			}
			return l, nil
		}
	})
}

func TestHold(t *testing.T) {
	log, err := memlog.NewDisk().Open("a", "rows")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	log.Hold()
	acked := make(chan uint64, 2)
	for seq := range uint64(2) {
		c := state.Change{Key: state.Key{Table: "rows", Shard: "0", ID: "k"}, Ver: state.Ver{Epoch: 1, Seq: seq + 1}}
		log.Append(c, func(rev uint64, err error) { acked <- rev })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := log.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flush of a held log: %v", err)
	}
	if st := log.Stats(); st.Waiting != 2 || len(acked) != 0 {
		t.Errorf("stats %+v, %d acknowledged", st, len(acked))
	}
	log.Release()
	if a, b := <-acked, <-acked; a != 1 || b != 1 {
		t.Errorf("revisions %d and %d, want one write for both", a, b)
	}
}
