package secret

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// made is a store with one secret, closed again.
func made(t *testing.T) (path, key string) {
	t.Helper()
	dir := t.TempDir()
	path, key = filepath.Join(dir, "secrets"), filepath.Join(dir, "key")
	if err := CreateFile(path, key); err != nil {
		t.Fatal(err)
	}
	s, err := OpenFile(path, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(context.Background(), "extensions/100", map[string]string{"password": "swordfish"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path, key
}

func TestFileSurvivesReopening(t *testing.T) {
	path, key := made(t)
	s, err := OpenFile(path, key)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if v, err := s.Get(context.Background(), "extensions/100"); err != nil || v["password"] != "swordfish" {
		t.Error(v, err)
	}
}

func TestFileOnDisk(t *testing.T) {
	path, key := made(t)
	for _, p := range []string{path, key, path + ".lock"} {
		if st, err := os.Stat(p); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v %v", p, st.Mode(), err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"swordfish", "password", "extensions"} {
		if bytes.Contains(data, []byte(word)) {
			t.Errorf("%q is readable in the file", word)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 3 {
		t.Errorf("leftovers: %v %v", entries, err)
	}
}

// Two writes of the same secrets must not look alike: each has its own nonce.
func TestFileNonces(t *testing.T) {
	path, key := made(t)
	seen := map[string]bool{}
	s, err := OpenFile(path, key)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 20 {
		if err := s.Put(context.Background(), "a", map[string]string{"v": "same"}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		nonce := string(data[len(fileMagic)+keyNameSize:][:12])
		if seen[nonce] {
			t.Fatal("a nonce came twice")
		}
		seen[nonce] = true
	}
}

func TestFileFaults(t *testing.T) {
	path, key := made(t)
	_, otherKey := made(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	keyText, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, data []byte, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, data, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	flipped := func(i int) []byte {
		d := bytes.Clone(data)
		d[i] ^= 1
		return d
	}
	open := file("open-key", keyText, 0o640)
	openStore := file("open-store", data, 0o604)
	tampered := file("tampered", flipped(len(data)-40), 0o600)
	cut := file("cut", data[:len(data)-1], 0o600)
	short := file("short", data[:5], 0o600)
	header := file("header", flipped(len(fileMagic)), 0o600)
	garbage := file("garbage", []byte("brickhouse-key-1 !!!"), 0o600)
	shortKey := file("short-key", []byte("brickhouse-key-1 AAAA\n"), 0o600)
	for _, tc := range []struct{ name, path, key, want string }{
		{"wrong key", path, otherKey, path + ": the key in " + otherKey + " is not the one it was written with; name its own key file"},
		{"tampered", tampered, key, tampered + ": was changed or damaged since it was written; restore it from a backup"},
		{"cut", cut, key, cut + ": was changed or damaged since it was written; restore it from a backup"},
		{"short", short, key, short + ": is not a secret store, or is cut off; restore it from a backup, or check the path"},
		{"header", header, key, header + ": the key in " + key + " is not the one it was written with; name its own key file"},
		{"open key", path, open, open + ": is open to others (mode 0640); run chmod 600 " + open},
		{"open store", openStore, key, openStore + ": is open to others (mode 0604); run chmod 600 " + openStore},
		{"no key", path, dir + "/none", dir + "/none: no such file; check the path, or make it with quickstart"},
		{"no store", dir + "/none", key, dir + "/none: no such file; check the path, or make it with quickstart"},
		{"no directory", dir + "/no/store", key, dir + "/no/store: can't be locked: no such file or directory; give its directory to the program's user"},
		{"garbage key", path, garbage, garbage + ": is not a key file; name the one that quickstart made"},
		{"short key", path, shortKey, shortKey + ": is not a key file; name the one that quickstart made"},
		{"directory as key", path, dir, dir + ": is not a file; check the path"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := OpenFile(tc.path, tc.key)
			var bad *Error
			if !errors.As(err, &bad) || !bad.BadInput() || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
	// What was refused is unharmed and not locked.
	s, err := OpenFile(path, key)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestEveryFlippedByteIsNoticed(t *testing.T) {
	path, key := made(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] ^= 0x80
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := OpenFile(path, key); err == nil {
			s.Close()
			t.Fatalf("byte %d was changed and nobody noticed", i)
		}
		data[i] ^= 0x80
	}
}

func TestFileIsForOneProcess(t *testing.T) {
	path, key := made(t)
	s, err := OpenFile(path, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(path, key); err == nil || !strings.Contains(err.Error(), "another process has it open; stop that one") {
		t.Error(err)
	}
	s.Close()
	s, err = OpenFile(path, key)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestCreateFile(t *testing.T) {
	path, key := made(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := CreateFile(path, key); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Error(err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Error("changed")
	}
	// A second store with the same key.
	if err := CreateFile(path+"2", key); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := CreateFile(path+"3", key); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Error(err)
	}
	if err := CreateFile(path+"3", "/nonexistent/key"); err == nil || !strings.Contains(err.Error(), "can't be made") {
		t.Error(err)
	}
}

// A write that fails leaves the secrets as they were, in memory and on the disk.
func TestFileFailedWriteChangesNothing(t *testing.T) {
	path, key := made(t)
	s, err := OpenFile(path, key)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.Mkdir(path+".new", 0o700); err != nil { // in the way of the new file
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new/x", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	err = s.Put(ctx, "extensions/100", map[string]string{"password": "marlin"})
	if err == nil || strings.Contains(err.Error(), "marlin") {
		t.Error(err)
	}
	if v, err := s.Get(ctx, "extensions/100"); err != nil || v["password"] != "swordfish" {
		t.Error(v, err)
	}
	if err := os.RemoveAll(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "extensions/100", map[string]string{"password": "marlin"}); err != nil {
		t.Error(err)
	}
}

// A process that writes is killed again and again; whatever it acknowledged is there, and the file opens.
func TestKillNine(t *testing.T) {
	dir := t.TempDir()
	path, key := filepath.Join(dir, "secrets"), filepath.Join(dir, "key")
	if err := CreateFile(path, key); err != nil {
		t.Fatal(err)
	}
	total := 0
	for round := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperWrites$")
		cmd.Env = append(os.Environ(), "SECRET_TEST_STORE="+path, "SECRET_TEST_KEY="+key, fmt.Sprint("SECRET_TEST_ROUND=", round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		var acknowledged []string
		lines := bufio.NewScanner(out)
		for n := 0; n < 5+3*round && lines.Scan(); n++ {
			acknowledged = append(acknowledged, lines.Text())
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // acknowledged while the signal was on its way
			if strings.HasSuffix(lines.Text(), ".") {
				acknowledged = append(acknowledged, lines.Text())
			}
		}
		_ = cmd.Wait() // it says "killed"
		watchdog.Stop()
		if len(acknowledged) == 0 {
			t.Fatal("the child wrote nothing")
		}
		s, err := OpenFile(path, key)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for _, line := range acknowledged {
			name := strings.TrimSuffix(line, ".")
			if v, err := s.Get(context.Background(), name); err != nil || v["v"] != name {
				t.Errorf("round %d: %s was acknowledged and is lost: %v %v", round, name, v, err)
			}
		}
		total += len(acknowledged)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged writes, none lost", total)
}

func TestHelperWrites(t *testing.T) {
	path := os.Getenv("SECRET_TEST_STORE")
	if path == "" {
		return // the child of TestKillNine only
	}
	s, err := OpenFile(path, os.Getenv("SECRET_TEST_KEY"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		name := fmt.Sprintf("round-%s/%d", os.Getenv("SECRET_TEST_ROUND"), i)
		if err := s.Put(context.Background(), name, map[string]string{"v": name}); err != nil {
			t.Fatal(err)
		}
		fmt.Println(name + ".")
	}
}

func FuzzLoad(f *testing.F) {
	key := bytes.Repeat([]byte{7}, keySize)
	dir := f.TempDir()
	s, err := newFileStore(filepath.Join(dir, "s"), key)
	if err != nil {
		f.Fatal(err)
	}
	if err := s.write(map[string]map[string]string{"a": {"b": "c"}}); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(s.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte(fileMagic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "s")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := newFileStore(path, key)
		if err != nil {
			t.Fatal(err)
		}
		// Each process of the fuzzer seals the seed with a nonce of its own: what is inside tells who wrote it.
		if s.load("key") == nil && s.secrets["a"]["b"] != "c" {
			t.Error("took a file that nobody wrote")
		}
	})
}
