package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/secret"
)

var place = secret.Place{Table: "webhooks", Column: "secret", Row: "7/wh_1"}

func box(t *testing.T, current secret.Key, previous ...secret.Key) *secret.Box {
	t.Helper()
	b, err := secret.New(current, previous...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestASecretOpensOnlyWhereItWasSealed(t *testing.T) {
	t.Parallel()
	b := box(t, secret.NewKey())
	for _, plain := range []string{"", "whsec_1", strings.Repeat("x", 10_000)} {
		sealed, err := b.Seal([]byte(plain), place)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) != len(plain)+secret.Overhead || plain != "" && bytes.Contains(sealed, []byte(plain)) {
			t.Errorf("sealed as %q", sealed)
		}
		again, _ := b.Seal([]byte(plain), place)
		if bytes.Equal(sealed, again) {
			t.Error("the same secret looks the same twice")
		}
		if got, err := b.Open(sealed, place); err != nil || string(got) != plain {
			t.Errorf("opened as %q, %v", got, err)
		}
		for _, other := range []secret.Place{
			{Table: "webhooks", Column: "secret", Row: "7/wh_2"},
			{Table: "webhooks", Column: "old_secret", Row: "7/wh_1"},
			{Table: "inbound", Column: "secret", Row: "7/wh_1"},
			{Table: "webhook", Column: "ssecret", Row: "7/wh_1"},
			{},
		} {
			if _, err := b.Open(sealed, other); !errors.Is(err, secret.ErrUnreadable) {
				t.Errorf("opens at %v: %v", other, err)
			}
		}
		for i := range min(len(sealed), 64) {
			damaged := bytes.Clone(sealed)
			damaged[i] ^= 1
			if _, err := b.Open(damaged, place); !errors.Is(err, secret.ErrUnreadable) {
				t.Errorf("opens with byte %d changed: %v", i, err)
			}
			if _, err := b.Open(sealed[:i], place); !errors.Is(err, secret.ErrUnreadable) {
				t.Errorf("opens with %d bytes: %v", i, err)
			}
		}
	}
}

func TestTheMasterKeyCanBeChanged(t *testing.T) {
	t.Parallel()
	first, second, third := secret.NewKey(), secret.NewKey(), secret.NewKey()
	before := box(t, first)
	sealed, err := before.Seal([]byte("kept"), place)
	if err != nil {
		t.Fatal(err)
	}
	if before.Stale(sealed) {
		t.Error("what the current key sealed is stale")
	}
	after := box(t, second, third, first)
	if got, err := after.Open(sealed, place); err != nil || string(got) != "kept" {
		t.Errorf("with the old key as a previous one: %q, %v", got, err)
	}
	if !after.Stale(sealed) {
		t.Error("what an old key sealed is not stale")
	}
	if _, err := box(t, second).Open(sealed, place); !errors.Is(err, secret.ErrUnreadable) || !strings.Contains(err.Error(), "MASTER_KEY_PREVIOUS") {
		t.Errorf("without the old key: %v", err)
	}
}

func TestAHubWithoutAMasterKeySaysSo(t *testing.T) {
	t.Parallel()
	var none *secret.Box
	if _, err := none.Seal([]byte("x"), place); gateway.CodeOf(err) != gateway.CodeMasterKeyMissing {
		t.Errorf("seal: %v", err)
	}
	if _, err := none.Open([]byte("x"), place); gateway.CodeOf(err) != gateway.CodeMasterKeyMissing {
		t.Errorf("open: %v", err)
	}
}

func TestMasterKeysAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	key := secret.NewKey()
	for _, text := range []string{
		key.Encode(), hex.EncodeToString(key[:]), strings.ToUpper(hex.EncodeToString(key[:])), " " + key.Encode() + "\n",
		base64.RawURLEncoding.EncodeToString(key[:]), base64.URLEncoding.EncodeToString(key[:]), base64.RawStdEncoding.EncodeToString(key[:]),
	} {
		if got, err := secret.ParseKey(text); err != nil || got != key {
			t.Errorf("%d characters: %v", len(text), err)
		}
	}
	for _, text := range []string{"", "correct horse battery staple", hex.EncodeToString(key[:16]), key.Encode() + "AA", strings.Repeat("0", 64), strings.Repeat("g", 64)} {
		_, err := secret.ParseKey(text)
		if err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%d characters: %v", len(text), err)
		}
	}
	if shown := fmt.Sprintf("%v %+v %#v %s", key, key, key, key); strings.Contains(shown, key.Encode()) || shown != "(secret) (secret) (secret) (secret)" {
		t.Errorf("printed as %s", shown)
	}
}

func FuzzMasterKey(f *testing.F) {
	f.Add("")
	f.Add(strings.Repeat("ab", 32))
	f.Add(strings.Repeat("A", 42) + "Q=")
	f.Add(strings.Repeat("-_", 21) + "8")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := secret.ParseKey(text)
		if err != nil {
			if text != "" && len(text) > 8 && strings.Contains(err.Error(), text) {
				t.Errorf("the error quotes it: %v", err)
			}
			return
		}
		if again, err := secret.ParseKey(key.Encode()); err != nil || again != key {
			t.Errorf("does not read what it writes: %v", err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	key, err := secret.ParseKey(strings.Repeat("ab", 32))
	if err != nil {
		f.Fatal(err)
	}
	b, err := secret.New(key)
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := b.Seal([]byte("x"), place)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed[:5])
	f.Add(sealed[1:])
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if plain, err := b.Open(data, place); err == nil {
			t.Errorf("opened %x as %q", data, plain)
		}
	})
}
