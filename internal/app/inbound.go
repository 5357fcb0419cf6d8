package app

import (
	"context"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/secret"
	"github.com/wapro/hub/internal/session"
)

// sealed stores inbound messages with the keys of their files encrypted, where there is a master key.
type sealed struct {
	session.Inbound
	box *secret.Box // nil: the keys are stored as they are, like the texts beside them
}

// ReceiveInbound implements session.Inbound.
func (s sealed) ReceiveInbound(ctx context.Context, m *gateway.Inbound) error {
	if m.Media != nil && len(m.Media.Key) > 0 && s.box != nil {
		key, err := s.box.Seal(m.Media.Key, mediaKeyPlace(m))
		if err != nil {
			return err
		}
		media := *m.Media
		media.Key = key
		m.Media = &media
	}
	return s.Inbound.ReceiveInbound(ctx, m)
}

func mediaKeyPlace(m *gateway.Inbound) secret.Place {
	return secret.Place{Table: "inbound_messages", Column: "content", Row: m.ID}
}

// mediaKeySize tells a key as it is from a sealed one, which is longer.
const mediaKeySize = 32

// openMediaKey is the key of the file of m, which ReceiveInbound may have sealed.
func openMediaKey(box *secret.Box, m *gateway.Inbound) ([]byte, error) {
	if len(m.Media.Key) == mediaKeySize {
		return m.Media.Key, nil
	}
	return box.Open(m.Media.Key, mediaKeyPlace(m))
}
