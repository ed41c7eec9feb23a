package filterbench

import (
	"bytes"
	"go/build"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The committed objects and their Go files are what the sources make: rebuilt with the same flags, no byte differs.
func TestGeneratedIsFresh(t *testing.T) {
	for _, tool := range []string{"clang-14", "llvm-strip-14"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s to rebuild the kernel programs (apt-get install clang-14 llvm-14)", tool)
		}
	}
	src, err := os.ReadFile("doc.go")
	must(t, err)
	lines := regexp.MustCompile(`(?m)^//go:generate go tool bpf2go (.*)$`).FindAllSubmatch(src, -1)
	if len(lines) != 2 {
		t.Fatalf("doc.go tells of %d programs how they are built, want 2", len(lines))
	}
	dir := t.TempDir()
	for _, line := range lines {
		args := append([]string{"tool", "bpf2go", "-output-dir", dir}, fields(string(line[1]))...)
		cmd := exec.CommandContext(t.Context(), filepath.Join(build.Default.GOROOT, "bin", "go"), args...)
		cmd.Env = append(os.Environ(), "GOPACKAGE=filterbench")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building: %v\n%s", err, out)
		}
	}
	for _, name := range []string{"generator_bpfel.o", "generator_bpfel.go", "baseline_bpfel.o", "baseline_bpfel.go"} {
		have, err := os.ReadFile(name)
		must(t, err)
		made, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if !bytes.Equal(have, made) {
			t.Errorf("%s is not what filterbench/xdp makes; run go generate ./bpf/filterbench and commit it", name)
		}
	}
}

// fields splits at spaces outside of double quotes, as go generate does.
func fields(s string) []string {
	var out []string
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}
