package wa

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mau.fi/whatsmeow/store"

	"github.com/wapro/hub/internal/gateway"
)

// guardedEvents keeps what was decrypted until it has been handled, together with the ratchet that can decrypt it no second time. One transaction
// holds both and the check of the lease: what a process that dies had decrypted, or had not, is the same for keys and content.
//
// whatsmeow takes any error of a decryption for the sender's, asks for the message again and acknowledges this copy. When it was our database that
// failed, fail closes the connection first: nothing is acknowledged then, and the message comes again with the next one.
type guardedEvents struct {
	store.EventBuffer
	guard *guard
	fail  func()
}

func (s *guardedEvents) GetBufferedEvent(ctx context.Context, hash [32]byte) (*store.BufferedEvent, error) {
	event, err := s.EventBuffer.GetBufferedEvent(ctx, hash)
	if err != nil {
		s.fail()
		return nil, storeFailed("look up what was decrypted", err)
	}
	return event, nil
}

func (s *guardedEvents) PutBufferedEvent(ctx context.Context, hash [32]byte, plaintext []byte, at time.Time) error {
	err := s.EventBuffer.PutBufferedEvent(ctx, hash, plaintext, at)
	return decryptionOf(ctx).failed(storeFailed("keep what was decrypted", err))
}

// DoDecryptionTxn runs do, which decrypts and keeps what came of it, in one transaction.
func (s *guardedEvents) DoDecryptionTxn(ctx context.Context, do func(context.Context) error) error {
	d := &decryption{}
	var refused error // by do: the message is not for us to read, and nothing of it is written
	err := s.guard.transact(context.WithValue(ctx, decryptionKey{}, d), func(ctx context.Context) error {
		if err := d.failed(s.guard.checkLease(ctx)); err != nil {
			return err
		}
		refused = contained(do)(ctx) // what a sender can make panic is the sender's failure
		return refused
	})
	if err == nil {
		return nil
	}
	s.guard.known.clear() // what was remembered of it was not written
	if d.err != nil || refused == nil {
		s.fail()
		return storeFailed("store what was decrypted", errors.Join(err, d.err))
	}
	return err
}

// checkLease returns nil while the lease holds.
func (g *guard) checkLease(ctx context.Context) error {
	if err := g.check(ctx, gateway.Claim{}); err != nil {
		return storeFailed("check the lease", fmt.Errorf("check the lease: %w", err))
	}
	return nil
}

// decryption is what is known about one use of the stores to decrypt: libsignal does not tell its own errors from the stores'.
type decryption struct{ err error }

type decryptionKey struct{}

func decryptionOf(ctx context.Context) *decryption {
	d, _ := ctx.Value(decryptionKey{}).(*decryption)
	return d
}

// failed notes err, when it is one, and returns it.
func (d *decryption) failed(err error) error {
	if d != nil && err != nil {
		d.err = err
	}
	return err
}
