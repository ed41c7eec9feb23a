package secret

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"brickhouse/shared/conffile"
)

// The file is magic, the key's name (8 bytes), and the sealed JSON: AES-256-GCM with a random nonce in front, magic and
// key name authenticated with it. Each write seals everything anew.
const (
	fileMagic   = "brickhouse secrets 1\n"
	keyMagic    = "brickhouse-key-1 "
	keyNameSize = 8
	keySize     = 32
	maxFile     = 64 << 20 // bytes
)

// FileConfig says where the encrypted file is.
type FileConfig struct {
	Path string `yaml:"path" doc:"Path of the encrypted file."`
	Key  string `yaml:"key" doc:"Path of the file with its key. Keep a copy elsewhere: without it the secrets are lost."`
}

// DefaultFile returns the default paths.
func DefaultFile() FileConfig {
	return FileConfig{Path: "/var/lib/brickhouse/secrets", Key: "/etc/brickhouse/secrets.key"}
}

func (c FileConfig) faults() []conffile.Fault {
	var out []conffile.Fault
	if c.Path == "" {
		out = append(out, conffile.Bad("path", "is empty", "name the encrypted file"))
	}
	if c.Key == "" {
		out = append(out, conffile.Bad("key", "is empty", "name the key file"))
	}
	return out
}

// fileStore is a Store in one file.
//
// All secrets are in memory; a change writes a new file beside the old one, syncs it, renames it over the old one and
// syncs the directory. So the file is whole at any moment, and a change is durable when it is acknowledged. A lock file
// beside it keeps a second process out.
type fileStore struct {
	path string
	aead cipher.AEAD
	head []byte // magic and key name
	lock *os.File

	mu      sync.RWMutex
	secrets map[string]map[string]string
	closed  bool
}

// CreateFile makes an empty store at path, and its key at keyFile if that does not exist. It refuses to replace a store.
func CreateFile(path, keyFile string) error {
	if _, err := os.Lstat(path); err == nil {
		return &Error{Where: path, Problem: "a secret store is there already", Remedy: "choose another path, or remove it"}
	}
	key, err := readKey(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = createKey(keyFile)
	}
	if err != nil {
		return err
	}
	s, err := newFileStore(path, key)
	if err != nil {
		return err
	}
	return s.write(map[string]map[string]string{})
}

func createKey(keyFile string) ([]byte, error) {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	f, err := os.OpenFile(keyFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, &Error{Where: keyFile, Problem: "can't be made: " + reason(err), Remedy: "choose a directory that is yours", Kind: err}
	}
	_, err = io.WriteString(f, keyMagic+base64.StdEncoding.EncodeToString(key)+"\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = syncDir(filepath.Dir(keyFile))
	}
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", keyFile, err)
	}
	return key, nil
}

// OpenFile opens the store that CreateFile made at path. Another process that has it open is an error.
func OpenFile(path, keyFile string) (Store, error) {
	key, err := readKey(keyFile)
	if err != nil {
		return nil, err
	}
	s, err := newFileStore(path, key)
	if err != nil {
		return nil, err
	}
	if err := s.take(); err != nil {
		return nil, err
	}
	if err := s.load(keyFile); err != nil {
		_ = s.lock.Close()
		return nil, err
	}
	return s, nil
}

func newFileStore(path string, key []byte) (*fileStore, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("preparing the cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("preparing the cipher: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("name of this key"))
	head := append([]byte(fileMagic), mac.Sum(nil)[:keyNameSize]...)
	return &fileStore{path: path, aead: aead, head: head}, nil
}

// readKey reads a key file that only its owner may read.
func readKey(keyFile string) ([]byte, error) {
	text, err := readPrivate(keyFile, 4096)
	if err != nil {
		return nil, err
	}
	coded, ok := strings.CutPrefix(strings.TrimSpace(string(text)), keyMagic)
	key, derr := base64.StdEncoding.Strict().DecodeString(coded)
	if !ok || derr != nil || len(key) != keySize {
		return nil, &Error{Where: keyFile, Problem: "is not a key file", Remedy: "name the one that quickstart made"}
	}
	return key, nil
}

// readPrivate reads a file of at most limit bytes that is closed to others. Errors are *Error, of the kind
// fs.ErrNotExist if it is missing.
func readPrivate(path string, limit int64) ([]byte, error) {
	fail := func(err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &Error{Where: path, Problem: "no such file", Remedy: "check the path, or make it with quickstart", Kind: fs.ErrNotExist}
		case errors.Is(err, fs.ErrPermission):
			return &Error{Where: path, Problem: "no permission to read it", Remedy: "give it to the program's user"}
		}
		return &Error{Where: path, Problem: "can't be read: " + reason(err), Remedy: "check the path"}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hang us
	if err != nil {
		return nil, fail(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fail(err)
	}
	switch {
	case !st.Mode().IsRegular():
		return nil, &Error{Where: path, Problem: "is not a file", Remedy: "check the path"}
	case st.Mode().Perm()&0o077 != 0:
		return nil, &Error{Where: path, Problem: fmt.Sprintf("is open to others (mode %04o)", st.Mode().Perm()), Remedy: "run chmod 600 " + path}
	case st.Size() > limit:
		return nil, &Error{Where: path, Problem: fmt.Sprintf("is larger than %d bytes", limit), Remedy: "check the path"}
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, fail(err)
	}
	return data, nil
}

// take locks the store against other processes. The kernel gives the lock back when this process ends, however it does.
func (s *fileStore) take() error {
	f, err := os.OpenFile(s.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return &Error{Where: s.path, Problem: "can't be locked: " + reason(err), Remedy: "give its directory to the program's user"}
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return &Error{Where: s.path, Problem: "another process has it open",
			Remedy: "stop that one, or use the commands of the running program"}
	}
	s.lock = f
	return nil
}

// load reads and opens the file.
func (s *fileStore) load(keyFile string) error {
	data, err := readPrivate(s.path, maxFile)
	if err != nil {
		return err
	}
	bad := func(problem, remedy string) error { return &Error{Where: s.path, Problem: problem, Remedy: remedy} }
	if len(data) < len(s.head) || string(data[:len(fileMagic)]) != fileMagic {
		return bad("is not a secret store, or is cut off", "restore it from a backup, or check the path")
	}
	if !hmac.Equal(data[:len(s.head)], s.head) {
		return bad("the key in "+keyFile+" is not the one it was written with", "name its own key file")
	}
	plain, err := s.aead.Open(nil, nil, data[len(s.head):], s.head)
	if err != nil {
		return bad("was changed or damaged since it was written", "restore it from a backup")
	}
	if err := json.Unmarshal(plain, &s.secrets); err != nil {
		return bad("was written by another version", "use that version, or restore a backup")
	}
	return nil
}

// write seals the secrets into a new file and puts it in the old one's place.
func (s *fileStore) write(secrets map[string]map[string]string) error {
	plain, err := json.Marshal(secrets)
	if err != nil {
		return fmt.Errorf("encoding secrets: %w", err)
	}
	data := s.aead.Seal(slices.Clone(s.head), nil, plain, s.head)
	if len(data) > maxFile {
		return &Error{Where: s.path, Problem: fmt.Sprintf("would be larger than %d bytes", maxFile), Remedy: "remove secrets, or use Vault"}
	}
	temp := s.path + ".new"
	if err := writeSynced(temp, data); err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("writing %s: %w", temp, err)
	}
	if err := os.Rename(temp, s.path); err != nil {
		return fmt.Errorf("putting %s in place: %w", s.path, err)
	}
	return nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o600) // a leftover may have had another mode
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// Get returns a copy of the secret.
func (s *fileStore) Get(_ context.Context, path string) (map[string]string, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	v, ok := s.secrets[path]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, path)
	}
	return maps.Clone(v), nil
}

// Put replaces the secret.
func (s *fileStore) Put(_ context.Context, path string, v map[string]string) error {
	if err := checkSecret(path, v); err != nil {
		return err
	}
	return s.change(func(next map[string]map[string]string) bool { next[path] = maps.Clone(v); return true })
}

// Delete removes the secret.
func (s *fileStore) Delete(_ context.Context, path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	return s.change(func(next map[string]map[string]string) bool {
		_, there := next[path]
		delete(next, path)
		return there
	})
}

// change writes what edit makes of the secrets, and only then shows it to readers. edit reports whether it did anything.
func (s *fileStore) change(edit func(next map[string]map[string]string) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	next := maps.Clone(s.secrets)
	if next == nil {
		next = map[string]map[string]string{}
	}
	if !edit(next) {
		return nil
	}
	if err := s.write(next); err != nil {
		return err
	}
	s.secrets = next
	// The new file is in place; until the directory is on the disk a power failure could bring the old one back.
	if err := syncDir(filepath.Dir(s.path)); err != nil {
		return fmt.Errorf("syncing the directory of %s: %w", s.path, err)
	}
	return nil
}

// List returns the names below prefix.
func (s *fileStore) List(_ context.Context, prefix string) ([]string, error) {
	prefix, err := checkPrefix(prefix)
	if err != nil {
		return nil, err
	}
	if prefix != "" {
		prefix += "/"
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	names := map[string]bool{}
	for path := range s.secrets {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			if i := strings.IndexByte(rest, '/'); i >= 0 {
				rest = rest[:i+1]
			}
			names[rest] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// Close gives the lock back and forgets the secrets.
func (s *fileStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed, s.secrets = true, nil
	return s.lock.Close()
}

// reason is an error without the names of calls and files.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}
