package convert

import (
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/gateway"
)

// Receipt is r in the domain's terms. ok is false for a receipt that says nothing about a recipient: from our own
// number (sender, read-self, peer), a request to send again, or of a kind that phones do not show as delivered.
func Receipt(r *events.Receipt) (out gateway.Receipt, ok bool) {
	if r.IsFromMe || r.Sender.IsEmpty() {
		return gateway.Receipt{}, false
	}
	switch r.Type {
	case types.ReceiptTypeDelivered:
		out.Kind = gateway.ReceiptDelivered
	case types.ReceiptTypeRead:
		out.Kind = gateway.ReceiptRead
	case types.ReceiptTypePlayed:
		out.Kind = gateway.ReceiptPlayed
	default:
		return gateway.Receipt{}, false
	}
	out.StanzaIDs = append(out.StanzaIDs, r.MessageIDs...)
	out.Chat = Bare(r.Chat)
	out.Sender = Bare(r.Sender)
	out.SenderAlt = Bare(r.SenderAlt)
	out.At = r.Timestamp.UTC()
	return out, true
}
