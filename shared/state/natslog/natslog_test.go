package natslog_test

import (
	"path/filepath"
	"testing"

	"brickhouse/shared/state"
	"brickhouse/shared/state/natslog"
	"brickhouse/shared/state/statetest"
)

func TestContract(t *testing.T) {
	statetest.Run(t, func(t *testing.T) statetest.Opener {
		dir := filepath.Join(t.TempDir(), "state")
		return func(node state.NodeID) (state.Log, error) {
			l, err := natslog.Open(natslog.Config{Dir: dir, Node: node, Tables: statetest.Tables()})
			if err != nil {
				return nil, err
			}
			return l, nil
		}
	})
}
