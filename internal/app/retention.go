package app

import (
	"context"

	"github.com/wapro/hub/internal/retention"
)

// startRetention starts the loop that removes what is over.
func (h *Hub) startRetention(ctx context.Context) error {
	loop := retention.New(h.store, h.blobs, retention.Options{Log: h.log})
	if err := loop.Start(ctx); err != nil {
		return err
	}
	h.onStop("retention", briefStop, loop.Stop)
	return nil
}
