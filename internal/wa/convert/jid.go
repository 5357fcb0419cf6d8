package convert

import (
	"fmt"

	"go.mau.fi/whatsmeow/types"

	"github.com/wapro/hub/internal/gateway"
)

// Recipient is the bare JID that a message's To names: E.164 digits, or a JID of a number, a LID or a group.
func Recipient(to string) (types.JID, error) {
	if !gateway.IsJID(to) {
		return types.NewJID(to, types.DefaultUserServer), nil
	}
	jid, err := types.ParseJID(to)
	if err != nil {
		return types.EmptyJID, fmt.Errorf("parse recipient JID: %w", err)
	}
	switch jid.Server {
	case types.DefaultUserServer, types.HiddenUserServer, types.GroupServer:
		return jid.ToNonAD(), nil
	}
	return types.EmptyJID, fmt.Errorf("recipient JID with server %q", jid.Server)
}

// Bare is the bare form of jid, empty for an empty JID.
func Bare(jid types.JID) string {
	if jid.IsEmpty() {
		return ""
	}
	return jid.ToNonAD().String()
}
