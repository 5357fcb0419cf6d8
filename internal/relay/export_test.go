package relay

import "context"

// Sweep is one sweep, the n-th.
func (r *Relay) Sweep(ctx context.Context, n int64) error { return r.sweep(ctx, n) }
