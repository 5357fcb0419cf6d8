package secret_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/secret"
)

// shelf keeps values of gateway.SecretsOfWebhooks by row.
type shelf struct {
	values map[string]string
	meddle func() // right before a replacement
	fail   error
}

func (s *shelf) SealedSecrets(_ context.Context, table, after string, limit int) (list []gateway.SealedSecret, next string, err error) {
	if table != gateway.SecretsOfWebhooks {
		return nil, "", nil
	}
	for _, row := range slices.Sorted(maps.Keys(s.values)) {
		if row > after && len(list) < limit {
			list, next = append(list, gateway.SealedSecret{Table: table, Column: "secret", Row: row, Value: []byte(s.values[row])}), row
		}
	}
	if len(list) < limit {
		next = ""
	}
	return list, next, nil
}

func (s *shelf) ReplaceSecrets(_ context.Context, list []gateway.ResealedSecret) (n int, err error) {
	if s.meddle != nil {
		s.meddle()
	}
	for _, r := range list {
		if s.values[r.Row] == string(r.Value) && s.fail == nil {
			s.values[r.Row] = string(r.New)
			n++
		}
	}
	return n, s.fail
}

func on(row string) secret.Place {
	return secret.Place{Table: gateway.SecretsOfWebhooks, Column: "secret", Row: row}
}

func TestSecretsAreSealedAnewOnceAndOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	old, current := secret.NewKey(), secret.NewKey()
	first, now, lost := box(t, old), box(t, current, old), box(t, secret.NewKey())
	kept := &shelf{values: map[string]string{}}
	put := func(b *secret.Box, row string) {
		t.Helper()
		sealed, err := b.Seal([]byte("of "+row), on(row))
		if err != nil {
			t.Fatal(err)
		}
		kept.values[row] = string(sealed)
	}
	for i := range 7 {
		put(first, fmt.Sprint("a", i))
	}
	put(lost, "a2")
	put(now, "a4")
	kept.values["bare"] = "0123456789abcdef0123456789abcdef" // a key that was never sealed
	foreign, fresh := kept.values["a2"], kept.values["a4"]
	r := secret.NewResealer(now, kept, secret.ResealOptions{Batch: 2})
	for round, want := range []secret.Resealed{{Resealed: 4 + 1, Unreadable: 1}, {Unreadable: 1}} {
		if done, err := r.Round(t.Context()); err != nil || done != want {
			t.Errorf("round %d: %+v, %v; want %+v", round, done, err, want)
		}
	}
	alone := box(t, current)
	for row, value := range kept.values {
		switch row {
		case "a2":
			if value != foreign {
				t.Error("what no key opens was changed")
			}
		case "bare":
			if len(value) != 32 {
				t.Error("what was never sealed was changed")
			}
		default:
			if plain, err := alone.Open([]byte(value), on(row)); err != nil || string(plain) != "of "+row {
				t.Errorf("%s is %q, %v", row, plain, err)
			}
		}
	}
	if kept.values["a4"] != fresh {
		t.Error("what the current key had sealed was sealed again")
	}
}

func TestASecretThatIsChangedMeanwhileIsLeftForTheNextRound(t *testing.T) {
	t.Parallel()
	old, current := secret.NewKey(), secret.NewKey()
	before, now := box(t, old), box(t, current, old)
	kept := &shelf{values: map[string]string{}}
	put := func(text string) {
		sealed, err := before.Seal([]byte(text), on("a"))
		if err != nil {
			t.Fatal(err)
		}
		kept.values["a"] = string(sealed)
	}
	put("one")
	kept.meddle = func() { put("two") }
	r := secret.NewResealer(now, kept, secret.ResealOptions{})
	if done, err := r.Round(t.Context()); err != nil || done != (secret.Resealed{Left: 1}) {
		t.Errorf("%+v, %v", done, err)
	}
	kept.meddle, kept.fail = nil, errors.New("the database is away")
	if done, err := r.Round(t.Context()); !errors.Is(err, kept.fail) || done.Resealed != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	kept.fail = nil
	if done, err := r.Round(t.Context()); err != nil || done != (secret.Resealed{Resealed: 1}) {
		t.Errorf("%+v, %v", done, err)
	}
	if plain, err := box(t, current).Open([]byte(kept.values["a"]), on("a")); err != nil || string(plain) != "two" {
		t.Errorf("it is %q, %v", plain, err)
	}
}
