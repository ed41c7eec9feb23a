package keyfile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	first, err := Load(path)
	if err != nil || len(first) != Size {
		t.Fatalf("Load = %d bytes, %v", len(first), err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if again, err := Load(path); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the second Load gave another key, %v", err)
	}
	if other, err := Load(path + "2"); err != nil || bytes.Equal(first, other) {
		t.Errorf("two files, one key, %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	short := filepath.Join(dir, "short")
	if err := os.WriteFile(short, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(short); err == nil || !strings.Contains(err.Error(), short+" holds no key") {
		t.Errorf("short file: %v", err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory is no key")
	}
	if _, err := Load(filepath.Join(dir, "missing", "key")); err == nil {
		t.Error("a key in no directory")
	}
}
