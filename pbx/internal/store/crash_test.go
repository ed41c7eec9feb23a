package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"brickhouse/shared/cdr"
	"brickhouse/shared/state/natslog"
	"brickhouse/shared/verdict"
)

// openDisk opens a store on the real log.
func openDisk(ctx context.Context, dir string) (*Store, error) {
	log, err := natslog.Open(natslog.Config{Dir: filepath.Join(dir, "log"), Node: "solo", Tables: Tables()})
	if err != nil {
		return nil, err
	}
	return Open(ctx, log, Options{})
}

// TestKill lets another process register phones and make calls, kills it at random moments, and opens what is left: each
// binding that was acknowledged is there, each call that was begun has exactly one record, each that had ended has its
// own.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	bound, begun, ended := map[string]uint32{}, map[string]bool{}, map[string]bool{}
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		life := time.Duration(10+rnd.IntN(250)) * time.Millisecond
		told := runAndKill(t, dir, seed, life)
		for _, l := range told {
			var what, id string
			var n uint32
			if k, _ := fmt.Sscan(l, &what, &id, &n); k != 3 {
				break // cut by the kill
			}
			switch what {
			case "bound":
				bound[id] = max(bound[id], n)
			case "begun":
				begun[id] = true
			case "ended":
				ended[id] = true
			}
		}
		checkAfterKill(t, dir, bound, begun, ended)
		t.Logf("seed %d: killed after %s, %d lines, %d bindings, %d calls begun, %d ended", seed, life, len(told), len(bound), len(begun), len(ended))
	}
	if len(ended) == 0 || len(bound) == 0 {
		t.Error("nothing happened: the test tests nothing")
	}
}

func runAndKill(t *testing.T, dir string, seed uint64, life time.Duration) (told []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "BH_STORE_DIR="+dir, fmt.Sprint("BH_STORE_SEED=", seed))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	for s := bufio.NewScanner(out); s.Scan(); {
		if s.Text() == "open" {
			time.AfterFunc(life, func() { cmd.Process.Kill() })
			continue
		}
		told = append(told, s.Text())
	}
	cmd.Wait() //nolint:errcheck // it was killed
	return told
}

func checkAfterKill(t *testing.T, dir string, bound map[string]uint32, begun, ended map[string]bool) {
	t.Helper()
	s, err := openDisk(t.Context(), dir)
	must(t, err)
	defer s.Close()
	for aor, cseq := range bound {
		rows := s.Bindings(aor, epoch)
		if len(rows) != 1 || rows[0].CSeq < cseq {
			t.Errorf("binding of %s: %v, acknowledged was %d", aor, rows, cseq)
		}
	}
	w, _, err := cdr.Open(filepath.Join(dir, "cdr"), time.Now)
	must(t, err)
	must(t, w.Close())
	records := map[string]cdr.Record{}
	files, err := filepath.Glob(filepath.Join(dir, "cdr", "*.jsonl"))
	must(t, err)
	for _, name := range files {
		f, err := os.Open(name)
		must(t, err)
		must(t, cdr.Read(f, func(r cdr.Record) error {
			if _, twice := records[r.ID]; twice {
				t.Errorf("record %s stands twice", r.ID)
			}
			records[r.ID] = r
			return nil
		}))
		f.Close()
	}
	for id := range begun {
		if _, there := records[id]; !there {
			t.Errorf("record of %s is lost", id)
		}
	}
	for id := range ended {
		if r := records[id]; r.Reason != verdict.NormalClearing {
			t.Errorf("end of %s is lost: %+v", id, r)
		}
	}
	for _, c := range s.Calls() { // a call's row goes only when its record is written
		if _, there := records[c.ID]; !there {
			t.Errorf("call %s has a row and no record", c.ID)
		}
	}
}

func TestMain(m *testing.M) {
	dir := os.Getenv("BH_STORE_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := childJob(dir, os.Getenv("BH_STORE_SEED")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// childJob works until it is killed, and prints what it was told to be durable.
func childJob(dir, seed string) error {
	ctx := context.Background()
	s, err := openDisk(ctx, dir)
	if err != nil {
		return err
	}
	w, _, err := cdr.Open(filepath.Join(dir, "cdr"), time.Now)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(what, id string, n uint32) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(what, id, n)
	}
	fmt.Println("open")
	for g := range 4 {
		go func() {
			for n := s.w.epoch * 1_000_000; ; n++ {
				b := binding(fmt.Sprintf("%d%d", g, n%5), "sip:a@10.0.0.1", time.Hour)
				b.CSeq = uint32(n)
				durable, err := s.PutBindings(ctx, b)
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				<-durable
				say("bound", b.AOR, b.CSeq)
			}
		}()
	}
	for g := range 3 {
		go func() {
			for n := 0; ; n++ {
				if err := oneCall(ctx, s, w, fmt.Sprintf("%s-%d-%d", seed, g, n), say); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
			}
		}()
	}
	select {}
}

func oneCall(ctx context.Context, s *Store, w *cdr.Writer, id string, say func(string, string, uint32)) error {
	r := cdr.Record{ID: id, Start: time.Now(), Caller: strings.Repeat("9", 20), Direction: cdr.Internal}
	if err := w.Begin(r); err != nil {
		return err
	}
	say("begun", id, 0)
	_, err := s.PutCall(ctx, &Call{ID: id, State: CallSetup, Started: r.Start})
	r.Answer = time.Now()
	err = errors.Join(err, w.Answer(id, r.Answer))
	r.End, r.Disposition, r.Code, r.Reason = time.Now(), cdr.Answered, 200, verdict.NormalClearing
	if err = errors.Join(err, w.End(r)); err != nil {
		return err
	}
	say("ended", id, 0)
	_, err = s.DeleteCall(ctx, id)
	return err
}
