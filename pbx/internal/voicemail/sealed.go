package voicemail

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A sealed file grows record by record, and what was written is good though the end never came:
//
//	magic | salt | { length of the rest, 4 bytes | AES-256-GCM(kind, 1 byte | content) }…
//
// Each file has a key of its own, derived from the exchange's and the salt; a record's nonce is its index. So no record can be taken out,
// changed, doubled or moved; one that is cut at the end is as if it had not been written.
const (
	magic      = "BHVM1\n"
	saltSize   = 32
	maxContent = 64 << 10
	keyInfo    = "brickhouse voicemail file v1"
)

// Kinds of records.
const (
	kindHeader = 'h'
	kindSound  = 's'
)

// syncEvery is how much of a message a power failure can take, at most; the end of the program takes nothing.
const syncEvery = time.Second

var errForeign = errors.New("is no message of this exchange: another key, or another kind of file")

// Header is what is known of a message.
type Header struct {
	Mailbox string    `json:"mailbox"` // that it was left in
	Caller  string    `json:"caller,omitempty"`
	Name    string    `json:"name,omitempty"`
	At      time.Time `json:"at"`
	Trace   string    `json:"trace,omitempty"`
}

func fileKey(key, salt []byte) (cipher.AEAD, error) {
	k, err := hkdf.Key(sha256.New, key, salt, keyInfo, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// sealer writes a sealed file.
type sealer struct {
	file   *os.File
	aead   cipher.AEAD
	index  uint64
	synced time.Time
}

// create begins a file that must not be there yet.
func create(path string, key []byte, h Header) (*sealer, error) {
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return nil, err
	}
	aead, err := fileKey(key, salt)
	if err != nil {
		return nil, err
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	s := &sealer{file: f, aead: aead}
	if _, err = f.Write(append([]byte(magic), salt...)); err == nil {
		err = s.record(kindHeader, head)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (s *sealer) record(kind byte, content []byte) error {
	if len(content) > maxContent {
		return fmt.Errorf("a record of %d bytes", len(content))
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+1+len(content)+s.aead.Overhead()), uint32(1+len(content)+s.aead.Overhead()))
	b = s.aead.Seal(b, nonce(s.aead, s.index), append([]byte{kind}, content...), nil)
	s.index++
	if _, err := s.file.Write(b); err != nil {
		return err
	}
	return nil
}

func nonce(a cipher.AEAD, index uint64) []byte {
	n := make([]byte, a.NonceSize())
	binary.BigEndian.PutUint64(n, index)
	return n
}

// write adds sound.
func (s *sealer) write(sound []byte, now time.Time) error {
	for len(sound) > 0 {
		n := min(len(sound), maxContent)
		if err := s.record(kindSound, sound[:n]); err != nil {
			return err
		}
		sound = sound[n:]
	}
	if now.Sub(s.synced) < syncEvery {
		return nil
	}
	s.synced = now
	return s.file.Sync()
}

// finish puts all of it on disk.
func (s *sealer) finish() error {
	return errors.Join(s.file.Sync(), s.file.Close())
}

// opened reads a sealed file. It is a Reader of the sound.
type opened struct {
	Header Header
	file   *os.File
	in     *bufio.Reader
	aead   cipher.AEAD
	index  uint64
	rest   []byte
	over   bool
}

func open(path string, key []byte) (*opened, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	o := &opened{file: f, in: bufio.NewReaderSize(f, 16<<10)}
	if err := o.begin(key); err != nil {
		f.Close()
		return nil, err
	}
	return o, nil
}

func (o *opened) begin(key []byte) error {
	head := make([]byte, len(magic)+saltSize)
	if _, err := io.ReadFull(o.in, head); err != nil || string(head[:len(magic)]) != magic {
		return errForeign
	}
	var err error
	if o.aead, err = fileKey(key, head[len(magic):]); err != nil {
		return err
	}
	kind, content, ok := o.next()
	if !ok || kind != kindHeader || json.Unmarshal(content, &o.Header) != nil {
		return errForeign
	}
	return nil
}

// next reads a record; false where there is no whole and true one any more.
func (o *opened) next() (kind byte, content []byte, ok bool) {
	var length [4]byte
	if _, err := io.ReadFull(o.in, length[:]); err != nil {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint32(length[:]))
	if n < 1+o.aead.Overhead() || n > 1+maxContent+o.aead.Overhead() {
		return 0, nil, false
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(o.in, b); err != nil {
		return 0, nil, false
	}
	b, err := o.aead.Open(b[:0], nonce(o.aead, o.index), b, nil)
	if err != nil {
		return 0, nil, false
	}
	o.index++
	return b[0], b[1:], true
}

// Read returns the sound that was written, µ-law at 8 kHz.
func (o *opened) Read(b []byte) (int, error) {
	for len(o.rest) == 0 {
		kind, content, ok := o.next()
		if o.over = o.over || !ok; o.over {
			return 0, io.EOF
		}
		if kind == kindSound {
			o.rest = content
		}
	}
	n := copy(b, o.rest)
	o.rest = o.rest[n:]
	return n, nil
}

// sound is how much sound the file has, in bytes, by the lengths of its records. size is the file's.
func (o *opened) sound(size int64) (bytes int64) {
	var length [4]byte
	at := int64(len(magic) + saltSize)
	for header := true; ; header = false {
		if _, err := o.file.ReadAt(length[:], at); err != nil {
			return bytes
		}
		n := int64(binary.BigEndian.Uint32(length[:]))
		content := n - 1 - int64(o.aead.Overhead())
		if at += 4 + n; content < 0 || at > size {
			return bytes
		}
		if !header {
			bytes += content
		}
	}
}

func (o *opened) Close() error { return o.file.Close() }
