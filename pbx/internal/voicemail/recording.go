package voicemail

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"brickhouse/shared/tone"
)

// recording is a message that is being left.
type recording struct {
	b       *Boxes
	mailbox string
	dir, id string
	file    *sealer
	sound   []byte
	samples int
}

// begin begins a message. Errors: ErrFull, ErrNoMailbox, those of the secret store and of the disk.
func (b *Boxes) begin(ctx context.Context, h Header) (*recording, error) {
	key, err := b.key(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	dir, id, err := b.room(h.Mailbox)
	if err != nil {
		return nil, err
	}
	f, err := create(filepath.Join(dir, id+"."+part), key, h)
	if err != nil {
		return nil, err
	}
	return &recording{b: b, mailbox: h.Mailbox, dir: dir, id: id, file: f}, syncDir(dir)
}

// writeSize is how much sound is written at a time, in bytes: what the end of the program can take is less.
const writeSize = tone.Rate / 2

// Write adds sound, linear at 8 kHz.
func (r *recording) Write(pcm []int16) error {
	r.sound = tone.MuLaw.Encode(r.sound, pcm)
	r.samples += len(pcm)
	if len(r.sound) < writeSize {
		return nil
	}
	return r.flush()
}

func (r *recording) flush() error {
	err := r.file.write(r.sound, r.b.opt.Now())
	r.sound = r.sound[:0]
	return err
}

// Length is how much was recorded.
func (r *recording) Length() time.Duration { return time.Duration(r.samples) * time.Second / tone.Rate }

// Keep makes it a message. When it returns, the message is on disk.
func (r *recording) Keep() error {
	if err := errors.Join(r.flush(), r.file.finish()); err != nil {
		return err
	}
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.announceLocked(r.mailbox, r.dir, r.id); err != nil {
		b.opt.Log.Error("a message will not be mailed", "mailbox", r.mailbox, "message", r.id, "error", err)
	}
	if err := os.Rename(filepath.Join(r.dir, r.id+"."+part), filepath.Join(r.dir, r.id+"."+string(New))); err != nil {
		return err
	}
	if err := syncDir(r.dir); err != nil {
		return err
	}
	b.tell(r.mailbox, r.dir)
	return nil
}

// Drop throws it away.
func (r *recording) Drop() error {
	return errors.Join(r.file.file.Close(), os.Remove(filepath.Join(r.dir, r.id+"."+part)))
}
