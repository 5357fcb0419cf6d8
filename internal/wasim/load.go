package wasim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.mau.fi/whatsmeow/util/keys"
)

// load reads the whole state, except media.
func (s *Server) load(ctx context.Context) error {
	if err := s.loadRoot(ctx); err != nil {
		return err
	}
	for _, step := range []struct {
		kind string
		load func(key string, value []byte) error
	}{
		{kindAccount, s.loadAccount},
		{kindIdentity, s.onPhone(func(a *account, rest string, v []byte) error {
			if len(v) != 32 {
				return errors.New("an identity has 32 bytes")
			}
			a.signal.identities[rest] = [32]byte(v)
			return nil
		})},
		{kindSession, s.onPhone(func(a *account, rest string, v []byte) error { a.signal.sessions[rest] = v; return nil })},
		{kindSenderKey, s.onPhone(func(a *account, rest string, v []byte) error { a.signal.senderKeys[rest] = v; return nil })},
		{kindPreKey, s.onPhone(func(a *account, rest string, v []byte) error {
			id, err := strconv.ParseUint(rest, 10, 32)
			if err != nil {
				return err
			}
			a.signal.preKeys[uint32(id)], err = loadPreKey(uint32(id), v)
			return err
		})},
		{kindShown, s.onPhone(func(a *account, _ string, v []byte) error {
			m := &Shown{position: len(a.inbox)}
			if err := json.Unmarshal(v, m); err != nil {
				return err
			}
			a.inbox = append(a.inbox, m)
			a.seen[m.From+"/"+m.ID] = m
			return nil
		})},
		{kindSent, s.onPhone(func(a *account, rest string, v []byte) error {
			m := &sentMessage{}
			a.sent[rest] = m
			return json.Unmarshal(v, m)
		})},
		{kindDevice, s.onPhone(func(a *account, rest string, v []byte) error {
			index, err := strconv.ParseUint(rest, 10, 8)
			if err != nil {
				return err
			}
			d, err := loadDevice(a, uint16(index), v)
			if err != nil {
				return err
			}
			d.sequence = s.nextSeq
			a.devices = append(a.devices, d)
			return nil
		})},
		{kindUploaded, s.onDevice(func(d *device, rest string, v []byte) error {
			id, err := strconv.ParseUint(rest, 10, 32)
			d.preKeys = append(d.preKeys, uploadedKey{uint32(id), v})
			return err
		})},
		{kindQueue, s.onDevice(func(d *device, rest string, v []byte) error {
			seq, err := strconv.ParseUint(rest, 10, 64)
			q := &queued{seq: seq}
			q.ready.Store(true)
			d.queue = append(d.queue, q)
			s.raiseSeq(seq)
			return errors.Join(err, json.Unmarshal(v, q))
		})},
		{kindDue, func(key string, value []byte) error {
			seq, err := strconv.ParseUint(key, 10, 64)
			s.raiseSeq(seq)
			return errors.Join(err, s.receipts.load(key, value))
		}},
		{kindGroup, s.loadGroup},
	} {
		if err := s.journal.each(ctx, step.kind, step.load); err != nil {
			return err
		}
	}
	return nil
}

// loadRoot takes the configured root key, or the stored one, or makes one; it is stored for the next start.
func (s *Server) loadRoot(ctx context.Context) error {
	if s.cfg.RootKey != [32]byte{} {
		return s.storeRoot(keys.NewKeyPairFromPrivateKey(s.cfg.RootKey))
	}
	err := s.journal.each(ctx, kindRoot, func(_ string, value []byte) error {
		if len(value) != 32 {
			return errors.New("the root key has 32 bytes")
		}
		s.root = keys.NewKeyPairFromPrivateKey([32]byte(value))
		return nil
	})
	if err != nil || s.root != nil {
		return err
	}
	return s.storeRoot(keys.NewKeyPair())
}

func (s *Server) storeRoot(root *keys.KeyPair) error {
	s.root = root
	b := s.journal.begin()
	b.put(kindRoot, "noise", s.root.Priv[:])
	return b.commit()
}

func (s *Server) loadAccount(number string, value []byte) error {
	a, err := loadAccount(number, value)
	if err != nil {
		return err
	}
	s.accounts[number], s.lids[a.lid] = a, a
	return nil
}

// onPhone passes a record on to the account its key begins with.
func (s *Server) onPhone(f func(a *account, rest string, value []byte) error) func(string, []byte) error {
	return func(key string, value []byte) error {
		number, rest, _ := strings.Cut(key, "/")
		a := s.accounts[number]
		if a == nil {
			return fmt.Errorf("there is no account %s", number)
		}
		return f(a, rest, value)
	}
}

// onDevice passes a record on to the device its key begins with.
func (s *Server) onDevice(f func(d *device, rest string, value []byte) error) func(string, []byte) error {
	return s.onPhone(func(a *account, rest string, value []byte) error {
		index, rest, _ := strings.Cut(rest, "/")
		n, err := strconv.ParseUint(index, 10, 8)
		if err != nil {
			return err
		}
		d := a.device(uint16(n))
		if d == nil {
			return nil // unlinked while the record was on its way
		}
		return f(d, rest, value)
	})
}

// raiseSeq keeps new sequence numbers above every stored one.
func (s *Server) raiseSeq(seq uint64) {
	if seq > s.seq.Load() {
		s.seq.Store(seq)
	}
}
