package app_test

import (
	"testing"

	"github.com/wapro/hub/internal/wasim"
)

// TestDropsDuringAFirstContact cuts the line while whatsmeow also has a query of its own in flight, the privacy token
// of a new contact: both then wait for the next connection.
func TestDropsDuringAFirstContact(t *testing.T) {
	sendThroughFaults(t, map[string]faultCase{
		"drop before accept":            {faults: []wasim.Fault{{Kind: wasim.DropBeforeAccept}}, want: isRead(1, 2)},
		"drop after accept":             {faults: []wasim.Fault{{Kind: wasim.DropAfterAccept}}, want: isRead(1, 2)},
		"drop twice before accept":      {faults: []wasim.Fault{{Kind: wasim.DropBeforeAccept, Times: 2}}, want: isRead(1, 3)},
		"drop twice after accept":       {faults: []wasim.Fault{{Kind: wasim.DropAfterAccept, Times: 2}}, want: isRead(1, 3)},
		"drop, then never acknowledged": {faults: []wasim.Fault{{Kind: wasim.DropAfterAccept}, {Kind: wasim.WithholdAck}}, want: isRead(1, 3)},
	})
}
