package wa

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// tokenStore keeps one person's token and the salt, and counts what it is asked.
type tokenStore struct {
	store.NoopStore
	token   *store.PrivacyToken
	salt    []byte
	err     error
	asked   int
	between func() // runs while a question is being answered
}

func (s *tokenStore) GetPrivacyToken(context.Context, types.JID) (*store.PrivacyToken, error) {
	s.asked++
	token := s.token
	if s.between != nil {
		s.between()
	}
	return token, s.err
}

func (s *tokenStore) PutPrivacyTokens(_ context.Context, tokens ...store.PrivacyToken) error {
	s.token = &tokens[0]
	return nil
}

func (s *tokenStore) DeleteExpiredPrivacyTokens(context.Context, time.Time) (int64, error) {
	s.token = nil
	return 1, nil
}

func (s *tokenStore) GetNCTSalt(context.Context) ([]byte, error) {
	s.asked++
	return s.salt, s.err
}

func (s *tokenStore) PutNCTSalt(_ context.Context, salt []byte) error {
	s.salt = salt
	return nil
}

func TestAnAnsweredTokenLookUpIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	person := types.NewJID("12", types.HiddenUserServer)
	inner := &tokenStore{err: errors.New("the disk is full")}
	tokens := &guardedTokens{PrivacyTokenStore: inner}
	want := func(token string, asked int) {
		t.Helper()
		got, err := tokens.GetPrivacyToken(ctx, person)
		if err != nil || (got == nil) != (token == "") || got != nil && string(got.Token) != token {
			t.Fatalf("the token is %v, %v; want %q", got, err, token)
		}
		if inner.asked != asked {
			t.Fatalf("the store was asked %d times, want %d", inner.asked, asked)
		}
		if got != nil {
			got.Token[0] = '?' // what whatsmeow does with it must not change what is remembered
		}
	}
	if _, err := tokens.GetPrivacyToken(ctx, person); err == nil {
		t.Fatal("a failure of the store was swallowed")
	}
	inner.err = nil
	want("", 2)
	want("", 2)
	if err := tokens.PutPrivacyTokens(ctx, store.PrivacyToken{User: person, Token: []byte("first")}); err != nil {
		t.Fatal(err)
	}
	want("first", 3)
	want("first", 3)
	if _, err := tokens.DeleteExpiredPrivacyTokens(ctx, time.Time{}); err != nil {
		t.Fatal(err)
	}
	// A token that is stored while the store answers that there is none.
	inner.between = func() {
		inner.between = nil
		if err := tokens.PutPrivacyTokens(ctx, store.PrivacyToken{User: person, Token: []byte("second")}); err != nil {
			t.Error(err)
		}
	}
	want("", 4)
	want("second", 5)
	want("second", 5)
}

func TestAnAnsweredSaltIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	inner := &tokenStore{}
	salt := &guardedSalt{NCTSaltStore: inner}
	want := func(value string, asked int) {
		t.Helper()
		got, err := salt.GetNCTSalt(ctx)
		if err != nil || string(got) != value || inner.asked != asked {
			t.Fatalf("the salt is %q, %v after %d questions; want %q after %d", got, err, inner.asked, value, asked)
		}
	}
	want("", 1)
	want("", 1)
	if err := salt.PutNCTSalt(ctx, []byte("salt")); err != nil {
		t.Fatal(err)
	}
	want("salt", 2)
	want("salt", 2)
}
