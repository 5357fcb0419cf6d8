package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

const (
	oggHeader   = 27       // bytes of a page header without its segment table (RFC 3533, section 6)
	oggTail     = 68 << 10 // the last page is within this: a page is at most 65,307 bytes
	opusRate    = 48_000   // granule positions count samples at this rate, whatever the input was (RFC 7845, section 4)
	maxDuration = 24 * 3600
)

// opusHead reports whether a file that begins with head is Ogg with Opus sound, and how many samples are to be skipped
// at its beginning.
func opusHead(head []byte) (preSkip int64, ok bool) {
	if len(head) < oggHeader || !bytes.HasPrefix(head, []byte("OggS")) {
		return 0, false
	}
	packet := head[min(len(head), oggHeader+int(head[oggHeader-1])):]
	if len(packet) < 12 || !bytes.HasPrefix(packet, []byte("OpusHead")) {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint16(packet[10:])), true
}

// opusSeconds is the length of a stored Opus file, rounded up, from the last page's granule position; 0 when
// that tells nothing.
func (s *Store) opusSeconds(ctx context.Context, sha256 string, preSkip int64) (int, error) {
	f, err := s.Open(ctx, sha256)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	tail, err := readTail(f)
	if err != nil {
		return 0, fmt.Errorf("measure a voice note: %w", err)
	}
	return secondsOf(tail, preSkip), nil
}

func readTail(f *os.File) ([]byte, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(max(0, size-oggTail), io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

func secondsOf(tail []byte, preSkip int64) int {
	for {
		i := bytes.LastIndex(tail, []byte("OggS"))
		if i < 0 {
			return 0
		}
		if page := tail[i:]; len(page) >= oggHeader {
			// -1 marks a page on which no packet ends.
			if granule := int64(binary.LittleEndian.Uint64(page[6:])); granule > preSkip {
				return int(min((granule-preSkip-1)/opusRate+1, maxDuration))
			}
		}
		tail = tail[:i]
	}
}
