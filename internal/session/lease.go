package session

import (
	"context"
	"errors"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// acquireBatch is how many free sessions are taken at once.
const acquireBatch = 100

// loop keeps the leases, takes free sessions and passes commands on. It is one goroutine, so that what is held and who
// runs never disagree.
func (s *Supervisor) loop(ctx context.Context) {
	renew := time.NewTicker(s.deps.LeaseTTL / 3)
	defer renew.Stop()
	find := time.NewTicker(s.deps.Timings.Find)
	defer find.Stop()
	commands := time.NewTicker(s.deps.Timings.Commands)
	defer commands.Stop()

	s.started = time.Now()
	renewed := s.renew(ctx, s.started) // which says that this worker lives
	s.share(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			renewed = s.renew(ctx, renewed)
		case <-find.C:
			s.share(ctx)
		case <-s.kick:
			s.share(ctx)
			s.commands(ctx)
		case <-commands.C:
			s.commands(ctx)
		}
	}
}

// renew prolongs all leases and returns when that was last done. A session whose lease is not held any more is let go. When
// nothing could be renewed for two thirds of a lease, another worker will soon take over: all sessions are let go.
func (s *Supervisor) renew(ctx context.Context, last time.Time) time.Time {
	// The look that comes two thirds later may come a moment less than that after the renewal, which itself was a moment late; the one after it
	// would come with the end of the lease. An attempt that hangs from the look before to its own limit ends at 7/12 of a lease.
	giveUp := func() bool { return !s.deps.Embedded && time.Since(last) >= s.deps.LeaseTTL*5/8 }
	if giveUp() {
		s.letGo(func(gateway.Fence) bool { return true })
	}
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.deps.LeaseTTL/4)
	defer cancel()
	// Seen first, so that this worker never counts as live for longer than its leases last.
	me := gateway.Worker{ID: s.deps.Instance, Host: s.deps.Host, PID: s.deps.PID}
	err := s.deps.Store.SeeWorker(ctx, me, s.deps.LeaseTTL)
	var held []gateway.Fence
	if err == nil {
		held, err = s.deps.Store.RenewSessions(ctx, s.deps.Instance, s.deps.LeaseTTL)
	}
	if err != nil {
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.log.Warn("renew the leases", "error", err)
		}
		if giveUp() {
			s.letGo(func(gateway.Fence) bool { return true })
		}
		return last
	}
	valid := make(map[gateway.Fence]bool, len(held))
	for _, fence := range held {
		valid[fence] = true
	}
	s.letGo(func(fence gateway.Fence) bool { return !valid[fence] })
	for _, fence := range held {
		if !s.runs(fence) {
			s.resume(ctx, fence)
		}
	}
	return asked
}

// letGo ends the sessions whose fence is lost.
func (s *Supervisor) letGo(lost func(gateway.Fence) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.actors {
		if !a.ending() && lost(a.fence) {
			s.log.Warn("the lease of a session is lost", "tenant", a.tenant, "epoch", a.fence.Epoch)
			if s.deps.LeaseLost != nil {
				s.deps.LeaseLost()
			}
			a.end(fenced) // it stays listed until it has ended, for a successor waits for it
		}
	}
}

func (s *Supervisor) runs(fence gateway.Fence) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.actors[fence.TenantKey]
	return a != nil && a.fence == fence && (!a.ending() || a.leaving.Load())
}

// resume runs a session that was let go although its lease held.
func (s *Supervisor) resume(ctx context.Context, fence gateway.Fence) {
	session, err := s.deps.Store.Session(ctx, fence.TenantKey)
	if err != nil {
		s.log.Warn("load a session", "tenantKey", fence.TenantKey, "error", err)
		return
	}
	if session.Fence() == fence {
		s.run(ctx, session)
	}
}

// acquire takes up to limit sessions that nobody owns and runs them.
func (s *Supervisor) acquire(ctx context.Context, limit int) {
	for ctx.Err() == nil && limit > 0 {
		batch := min(limit, acquireBatch)
		taken, err := s.deps.Store.AcquireSessions(ctx, s.deps.Instance, s.deps.LeaseTTL, batch)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("look for sessions without an owner", "error", err)
			}
			return
		}
		for _, session := range taken {
			s.run(ctx, session)
		}
		if len(taken) < batch {
			return
		}
		limit -= batch
	}
}

// run starts the actor that owns session. One that still runs under an older epoch ends first.
func (s *Supervisor) run(ctx context.Context, session gateway.Session) {
	a := newActor(context.WithoutCancel(ctx), s, session)
	s.mu.Lock()
	before := s.actors[session.TenantKey]
	s.actors[session.TenantKey] = a
	s.mu.Unlock()
	if before != nil {
		before.end(fenced)
	}
	s.tasks.Add(1)
	go func() {
		if before != nil {
			<-before.done
		}
		a.run()
	}()
}

// forget drops an ended actor unless another took its place.
func (s *Supervisor) forget(a *actor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.actors[a.fence.TenantKey] == a {
		delete(s.actors, a.fence.TenantKey)
	}
}

// commands passes what the API asked for to the sessions.
func (s *Supervisor) commands(ctx context.Context) {
	taken, err := s.deps.Store.TakeCommands(ctx, s.deps.Instance)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("look for commands", "error", err)
		}
		return
	}
	for _, command := range taken {
		s.mu.Lock()
		a := s.actors[command.TenantKey]
		s.mu.Unlock()
		switch {
		case a == nil, a.leaving.Load(): // between two owners, of whom this process may be the old or the new one
			s.putBack(ctx, command)
		case !a.command(command):
			s.log.Warn("a command was dropped: its session is busy", "tenantKey", command.TenantKey, "command", string(command.Kind))
		}
	}
}

// putBack leaves a command to the next owner of its session.
func (s *Supervisor) putBack(ctx context.Context, c gateway.Command) {
	if err := s.deps.Store.AddCommand(ctx, c); err != nil {
		s.log.Warn("a command was dropped: it could not be left to the next owner", "tenantKey", c.TenantKey, "command", string(c.Kind), "error", err)
	}
}
