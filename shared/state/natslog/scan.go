package natslog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/minio/highwayhash"

	"brickhouse/shared/state"
)

// The server heals a damaged block by cutting it off at the first record that does not fit its checksum. For the torn
// end of a block that was being written that is right: nobody was told that the record is durable. Anywhere else it
// would lose good records without a word, so we read the blocks first, and refuse.

// Layout of a record in a block of nats-server 2.15: header, subject, [header length, headers,] data, checksum. A test
// damages files that the server wrote, so that a new layout shows.
const (
	recordHeader   = 22       // length u32, sequence u64, time u64, subject length u16
	recordChecksum = 8        //
	headersBit     = 1 << 31  // in length: the message has headers
	maxRecord      = 32 << 20 // longer ones are damage
)

// scanStream reads all blocks of a stream.
func scanStream(stream, dir string) error {
	files, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var blocks []int
	for _, f := range files {
		var n int
		if _, err := fmt.Sscanf(f.Name(), "%d.blk", &n); err == nil && strings.HasSuffix(f.Name(), ".blk") {
			blocks = append(blocks, n)
		}
	}
	sort.Ints(blocks)
	for i, n := range blocks {
		path := filepath.Join(dir, fmt.Sprintf("%d.blk", n))
		buf, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at, ok := scanBlock(buf, stream, n)
		if ok {
			continue
		}
		if i == len(blocks)-1 && !anyRecord(buf[at+1:], stream, n) {
			continue // the torn end of the newest block
		}
		return fmt.Errorf("%w: %s at byte %d; restore the directory from a backup", state.ErrCorrupt, path, at)
	}
	return nil
}

// scanBlock walks the records of a block and returns where the first bad one begins.
func scanBlock(buf []byte, stream string, block int) (at int, ok bool) {
	h := blockHash(stream, block)
	for at < len(buf) {
		n := recordLen(buf[at:], h)
		if n == 0 {
			return at, false
		}
		at += n
	}
	return at, true
}

// anyRecord reports whether a good record begins anywhere in buf.
func anyRecord(buf []byte, stream string, block int) bool {
	h := blockHash(stream, block)
	for ; len(buf) > recordHeader; buf = buf[1:] {
		if recordLen(buf, h) > 0 {
			return true
		}
	}
	return false
}

// recordLen is the length of the good record at the beginning of buf, or 0.
func recordLen(buf []byte, h hash.Hash) int {
	if len(buf) < recordHeader+recordChecksum {
		return 0
	}
	n := binary.LittleEndian.Uint32(buf)
	subject, extra := int(binary.LittleEndian.Uint16(buf[20:])), 0
	if n&headersBit != 0 {
		n, extra = n&^headersBit, 4
	}
	if n < recordHeader+recordChecksum || n > maxRecord || int(n) > len(buf) {
		return 0
	}
	body := buf[recordHeader : n-recordChecksum]
	if subject+extra > len(body) {
		return 0
	}
	h.Reset()
	h.Write(buf[4:20])
	h.Write(body[:subject])
	h.Write(body[subject+extra:])
	var sum [recordChecksum]byte
	if !bytes.Equal(h.Sum(sum[:0]), buf[n-recordChecksum:n]) {
		return 0
	}
	return int(n)
}

// blockHash is the checksum that the server uses for a block.
func blockHash(stream string, block int) hash.Hash {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, block))
	h, err := highwayhash.New64(key[:])
	if err != nil { // only for a key that is not 32 bytes long
		panic(err)
	}
	return h
}
