package wasim

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// However the network cuts what a client sends, the same frames come out.
func TestFramesSurviveAnyFragmentation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var wire []byte
		if routing := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "routing"); rapid.Bool().Draw(t, "edge") {
			wire = append(wire, edgeHeader...)
			wire = append(wire, frame(routing)...)
		}
		wire = append(wire, versionHeader...)
		want := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 400), 0, 5).Draw(t, "frames")
		for _, payload := range want {
			wire = append(wire, frame(payload)...)
		}
		var fr frameReader
		var header []byte
		var got [][]byte
		for len(wire) > 0 {
			n := rapid.IntRange(1, len(wire)).Draw(t, "cut")
			fr.feed(wire[:n])
			wire = wire[n:]
			if header == nil {
				var err error
				if header, err = readHeader(&fr); err != nil {
					t.Fatal(err)
				}
			}
			if header == nil {
				continue
			}
			for f := fr.next(); f != nil; f = fr.next() {
				got = append(got, bytes.Clone(f))
			}
		}
		if !bytes.Equal(header, versionHeader) || len(got) != len(want) {
			t.Fatalf("header %x, %d of %d frames", header, len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("frame %d is %x, not %x", i, got[i], want[i])
			}
		}
	})
}

func TestUnknownHeaderIsRefused(t *testing.T) {
	t.Parallel()
	fr := &frameReader{}
	fr.feed([]byte("GET / HTTP/1.1"))
	if _, err := readHeader(fr); err == nil {
		t.Error("an HTTP request was taken for a client")
	}
}

func TestLIDIsStableAndNeverTheNumber(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.StringMatching(`[1-9][0-9]{4,14}`).Draw(t, "number")
		lid := lidOf(number)
		if lid == number || lid != lidOf(number) || len(lid) != 15 {
			t.Fatalf("%s has LID %s", number, lid)
		}
	})
}
