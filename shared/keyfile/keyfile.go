// Package keyfile keeps a random key of a program's own in a file, so that what is derived with it is the same after a
// restart.
package keyfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"brickhouse/shared/pki"
)

// Size is the length of a key in bytes.
const Size = 32

// Load reads the key at path, or makes a new one there with mode 0600, on the disk before it returns. A file that holds
// something else is an error that says what to do.
func Load(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	switch {
	case err == nil && len(key) == Size:
		return key, nil
	case err == nil:
		return nil, fmt.Errorf("%s holds no key: remove it, and a new one is made", path)
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	key = make([]byte, Size)
	rand.Read(key) //nolint:errcheck // crypto/rand never fails
	return key, pki.WriteFile(path, key)
}
