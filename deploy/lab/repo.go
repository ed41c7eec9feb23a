package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// BinEnv names a directory with the product's binaries; without it the lab builds them.
const BinEnv = "BH_LAB_BIN"

// buildWithin bounds one build on a busy machine; Vault's first one takes minutes.
const buildWithin = 20 * time.Minute

// Root is the repository's top, found from the working directory upwards.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	for {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module brickhouse\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("finding the repository: no go.mod of brickhouse here or above")
		}
		dir = filepath.Dir(dir)
	}
}

// Build builds the product's programs ("sbc", "pbx") into a directory, as they are shipped: without cgo.
func Build(dir string, programs ...string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	for _, p := range programs {
		if _, err := output1(root, []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-o", filepath.Join(dir, p), "./"+p); err != nil {
			return fmt.Errorf("building %s: %w", p, err)
		}
	}
	return nil
}

// Binary is the path of one of the product's programs: from $BH_LAB_BIN, or built for this run.
func (l *Lab) Binary(program string) string {
	l.t.Helper()
	dir := os.Getenv(BinEnv)
	if dir == "" {
		dir = filepath.Join(l.Dir, "bin")
		if err := Build(dir, program); err != nil {
			l.t.Fatalf("lab: %v", err)
		}
	}
	return filepath.Join(dir, program)
}

// output1 runs a program and returns its standard output without the line's end; an error holds what it said besides.
func output1(dir string, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}
