package httpapi_test

import (
	"net/http"
	"testing"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/httpapi"
)

// FuzzCursor: a cursor is one of ours or none, and never a number that no row has.
func FuzzCursor(f *testing.F) {
	for _, seq := range []int64{1, 77, 1 << 62} {
		f.Add(httpapi.WriteCursor(seq))
	}
	f.Add("")
	f.Add("AAAA")
	f.Add("-1")
	f.Fuzz(func(t *testing.T, cursor string) {
		seq, ok := httpapi.ReadCursor(cursor)
		if !ok {
			return
		}
		if seq < 0 {
			t.Errorf("%q is %d", cursor, seq)
		}
		if again, ok := httpapi.ReadCursor(httpapi.WriteCursor(seq)); !ok || again != seq {
			t.Errorf("%d is read back as %d", seq, again)
		}
	})
}

// FuzzIdempotencyKey: what is taken is short, visible and as it was sent; anything else is refused as such.
func FuzzIdempotencyKey(f *testing.F) {
	f.Add("order-7", "")
	f.Add("", "x")
	f.Add("a b", "")
	f.Add("\x00\xff", "two")
	f.Fuzz(func(t *testing.T, one, two string) {
		r := &http.Request{Header: http.Header{"Idempotency-Key": {one}}}
		if two != "" {
			r.Header["Idempotency-Key"] = []string{one, two}
		}
		key, given, err := httpapi.IdempotencyKey(r)
		if err != nil {
			if gateway.CodeOf(err) != gateway.CodeInvalidIdempotency {
				t.Errorf("%q: %v", one, err)
			}
			return
		}
		if !given || key != one || len(key) == 0 || len(key) > 255 || two != "" {
			t.Errorf("%q is taken as %q", one, key)
		}
		for _, c := range []byte(key) {
			if c <= ' ' || c > '~' {
				t.Errorf("%q is taken", key)
			}
		}
	})
}
