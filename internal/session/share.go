package session

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

const (
	// patience is for how many looks a session may be free before a worker takes it that has its share: whose share it is has
	// died, but counts as live until its leases end.
	patience = 3
	// handOvers bounds the sessions that are on their way out at a time.
	handOvers = 50
)

// fairShare is how many of the sessions are worker me's: all shares differ by one at most, and their sum is the number of
// sessions. The workers' order, and so each one's share, is the same for all of them.
func fairShare(shares gateway.Shares, me string) int {
	var workers []string
	for id := range shares.Held {
		workers = append(workers, id)
	}
	if _, seen := shares.Held[me]; !seen {
		workers = append(workers, me) // not seen for a while, or not yet
	}
	slices.Sort(workers)
	share := shares.Total / len(workers)
	if slices.Index(workers, me) < shares.Total%len(workers) {
		share++
	}
	return share
}

// surplus is how many sessions worker me hands over. Nothing moves to even out a difference of one.
func surplus(shares gateway.Shares, me string) int {
	mine := shares.Held[me]
	for _, held := range shares.Held {
		if held <= mine-2 {
			return max(0, mine-fairShare(shares, me))
		}
	}
	return 0
}

// share takes free sessions up to this worker's share, and hands over what is beyond it.
func (s *Supervisor) share(ctx context.Context) {
	if s.deps.Embedded {
		s.acquire(ctx, math.MaxInt)
		return
	}
	leaving := s.leaving() // before the leases are counted: one that is given up in between must not count twice
	shares, err := s.deps.Store.Shares(ctx, patience*s.deps.Timings.Find)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("look at the shares of the workers", "error", err)
		}
		return
	}
	wanted := fairShare(shares, s.deps.Instance) - shares.Held[s.deps.Instance]
	switch {
	case shares.Orphans > max(wanted, 0) && time.Since(s.started) > patience*s.deps.Timings.Find:
		// Not handed over to whom they were left for, before that one has come back or is known to be dead.
		s.resting = time.Now().Add(s.deps.LeaseTTL)
		s.acquire(ctx, shares.Orphans)
	case shares.Free > 0 && wanted > 0:
		s.acquire(ctx, wanted)
	case time.Now().After(s.resting):
		s.handOver(ctx, shares, leaving)
	}
}

// handOver lets the sessions beyond this worker's share go, of which leaving are on their way out already.
func (s *Supervisor) handOver(ctx context.Context, shares gateway.Shares, leaving int) {
	shares.Held[s.deps.Instance] -= leaving // their leases are still held
	n := min(surplus(shares, s.deps.Instance), handOvers-leaving)
	if n <= 0 {
		return
	}
	spare, err := s.deps.Store.Spare(ctx, s.deps.Instance, n+leaving)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("look for sessions to hand over", "error", err)
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fence := range spare {
		if n == 0 {
			return
		}
		a := s.actors[fence.TenantKey]
		if a == nil || a.fence != fence || a.ending() {
			continue
		}
		a.log.Info("the session is handed over to a worker that has fewer")
		a.end(handOver)
		n--
	}
}

// leaving counts the sessions that are being handed over.
func (s *Supervisor) leaving() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.actors {
		if a.leaving.Load() {
			n++
		}
	}
	return n
}
