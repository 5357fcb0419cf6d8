package storetest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

func testUploads(t *testing.T, open Opener) {
	const day = 24 * time.Hour
	w := newWorld(t, open)
	ctx := t.Context()
	other := w.newTenant("other")
	upload := func(n int) gateway.Upload {
		return gateway.Upload{
			SHA256: fmt.Sprintf("%064d", n), Kind: "WhatsApp Document Keys", URL: "https://example.org/x", DirectPath: "/x?y=z",
			MediaKey: []byte{0, 1, byte(n)}, EncSHA256: []byte{0xff, byte(n)}, Size: 5 << 20,
		}
	}
	want := func(tenant gateway.Tenant, asked gateway.Upload, want *gateway.Upload) {
		t.Helper()
		got, err := w.Upload(ctx, tenant.Key, asked.SHA256, asked.Kind, day)
		must(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("kept is %+v, want %+v", got, want)
		}
	}
	first, again := upload(1), upload(1)
	want(w.tenant, first, nil)
	must(t, w.KeepUpload(ctx, w.tenant.Key, first))
	want(w.tenant, first, &first)
	want(other, first, nil) // a file of one tenant's tells another nothing
	asImage := first
	asImage.Kind = "WhatsApp Image Keys"
	want(w.tenant, asImage, nil)

	w.clock.Advance(day)
	want(w.tenant, first, &first)
	w.clock.Advance(time.Second)
	want(w.tenant, first, nil)
	again.MediaKey, again.DirectPath = []byte{7}, "/new"
	must(t, w.KeepUpload(ctx, w.tenant.Key, again))
	want(w.tenant, first, &again)

	w.clock.Advance(2 * day)
	second := upload(2)
	must(t, w.KeepUpload(ctx, other.Key, second))
	// What is too old is swept, so many at a time.
	for i := 3; i < 8; i++ {
		must(t, w.KeepUpload(ctx, w.tenant.Key, upload(i)))
	}
	w.clock.Advance(time.Second)
	before := w.clock.Now()
	must(t, w.KeepUpload(ctx, other.Key, second)) // uploaded anew, it is young
	for _, wanted := range []int{4, 2, 0} {       // the one of before, and five
		forgotten, err := w.ForgetUploads(ctx, before, 4)
		must(t, err)
		if forgotten != wanted {
			t.Errorf("%d uploads were swept, want %d", forgotten, wanted)
		}
	}
	var n int
	must(t, w.Writer().QueryRowContext(ctx, `SELECT COUNT(*) FROM uploads`).Scan(&n))
	if n != 1 {
		t.Errorf("%d uploads are kept, want the one that is of use", n)
	}
	must(t, w.DeleteTenant(ctx, other.ID))
	must(t, w.Writer().QueryRowContext(ctx, `SELECT COUNT(*) FROM uploads`).Scan(&n))
	if n != 0 {
		t.Error("the upload outlived its tenant")
	}
}
