package lab

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"brickhouse/shared/tone"
)

func song(hz float64, seconds int) []int16 {
	pcm := make([]int16, seconds*tone.Rate)
	if hz > 0 {
		tone.NewSine(hz, toneLevel).Read(pcm)
	}
	return pcm
}

func TestWAV(t *testing.T) {
	pcm := song(440, 1)
	whole := encodeWAV(pcm)
	running := bytes.Clone(whole)
	copy(running[40:44], []byte{0, 0, 0, 0}) // no length yet
	zeros := append(make([]byte, 44), whole[44:]...)
	list := append(bytes.Clone(whole[:36]), append([]byte("LIST\x04\x00\x00\x00abcd"), whole[36:]...)...)
	for name, b := range map[string][]byte{"whole": whole, "still running": running, "header to come": zeros, "another chunk": list} {
		got, err := decodeWAV(b)
		if err != nil || len(got) != len(pcm) || got[1234] != pcm[1234] {
			t.Errorf("%s: %d samples, %v", name, len(got), err)
		}
	}
	stereo := bytes.Clone(whole)
	stereo[22] = 2
	for name, b := range map[string][]byte{
		"stereo": stereo, "empty": nil, "text": []byte("RIFF of a guitar, not WAVE"), "no data": whole[:36], "cut in a chunk": whole[:20],
	} {
		if _, err := decodeWAV(b); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzDecodeWAV(f *testing.F) {
	f.Add(encodeWAV(song(440, 1))[:200])
	f.Add(make([]byte, 60))
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVEfmt \xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if pcm, err := decodeWAV(b); err == nil && 2*len(pcm) > len(b) {
			t.Fatalf("%d samples from %d bytes", len(pcm), len(b))
		}
	})
}

// A phone's recording as it grows, with an ear on it.
func TestEar(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "heard.wav")
	record := func(pcm []int16) {
		t.Helper()
		old, err := os.ReadFile(path)
		if err != nil {
			old = make([]byte, 44)
		}
		if err := os.WriteFile(path, append(old, encodeWAV(pcm)[44:]...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := &fake{T: t}
	e := ear{t: f, who: "alice", files: func() []string { return []string{filepath.Join(dir, "none.wav"), path} }}
	if n := len(e.heard()); n != 0 {
		t.Errorf("heard %d samples in no file", n)
	}
	record(song(440, 1))
	e.hearsNothing() // nothing comes any more
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() { // she is sung to, slice by slice
		defer close(done)
		all := song(700, 30)
		for i := 0; i+800 <= len(all); i += 800 {
			select {
			case <-stop:
				return
			default:
				record(all[i : i+800])
			}
		}
	}()
	if r := e.hears(700); !r.Is(700) {
		t.Errorf("heard %+v", r)
	}
	close(stop)
	<-done
	if len(f.errors) > 0 {
		t.Errorf("reported %q", f.errors)
	}
}

func TestReadNetstring(t *testing.T) {
	r := bufio.NewReader(strings.NewReader(`13:{"event":1,}x,2:ab,`))
	if b, err := readNetstring(r); err != nil || string(b) != `{"event":1,}x` {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := readNetstring(r); err != nil || string(b) != "ab" {
		t.Errorf("%q, %v", b, err)
	}
	for _, bad := range []string{"", "5", "5:ab", "x:ab,", "-1:,", "99999999:", "2:abc,", "999999999999999999999:a,"} {
		if b, err := readNetstring(bufio.NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("%q gave %q", bad, b)
		}
	}
}

func FuzzReadNetstring(f *testing.F) {
	f.Add("2:ab,")
	f.Add("1048577:a,")
	f.Fuzz(func(t *testing.T, s string) {
		if b, err := readNetstring(bufio.NewReader(strings.NewReader(s))); err == nil && len(b) > len(s) {
			t.Fatalf("%d bytes from %d", len(b), len(s))
		}
	})
}
